//! How the library is linked. The name inside is the real one's: a loader that has it open then finds it by that name.
//! It finds its own functions without the table of exported names, from which tests take some away.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    println!("cargo:rerun-if-changed=build.rs");
}
