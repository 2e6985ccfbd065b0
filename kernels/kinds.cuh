// Numbers of the types of matrices, by which KIND names one. They are ours; a name that is none of them is 0.

#define F32 1
#define F16 2
#define BF16 3
#define Q8_0 4
#define Q4_0 5
#define Q4_1 6
#define Q5_0 7
#define Q5_1 8
#define Q4_K 9
#define Q5_K 10
#define Q6_K 11
#define MXFP4 12
#define Q2_K 13
#define Q3_K 14
#define IQ4_NL 15
#define IQ4_XS 16
