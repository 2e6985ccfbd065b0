//! Common English words, most of which are one token, with the space before them, to every tokenizer in use.

/// 256 words, so that a word is a byte.
#[rustfmt::skip]
pub(crate) const WORDS: [&str; 256] = [
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not",
    "he", "this", "are", "or", "his", "from", "at", "which", "but", "have", "an", "had", "they", "you", "were", "their",
    "one", "all", "we", "can", "her", "has", "there", "been", "if", "more", "when", "will", "would", "who", "so", "no",
    "she", "other", "its", "may", "these", "what", "them", "than", "some", "him", "time", "into", "only", "do", "such", "my",
    "new", "about", "out", "also", "two", "any", "up", "first", "could", "our", "then", "most", "see", "me", "should", "after",
    "said", "your", "very", "between", "made", "many", "over", "like", "those", "did", "now", "even", "well", "where", "must", "people",
    "through", "how", "same", "work", "being", "because", "man", "life", "before", "each", "much", "under", "years", "way", "great", "state",
    "both", "use", "upon", "own", "used", "however", "us", "part", "good", "world", "make", "three", "while", "long", "day", "without",
    "just", "men", "general", "during", "another", "little", "found", "here", "system", "does", "down", "number", "case", "against", "might", "still",
    "back", "right", "know", "place", "every", "high", "set", "water", "house", "form", "order", "public", "say", "power", "since", "given",
    "small", "law", "take", "off", "point", "last", "come", "end", "old", "large", "war", "second", "never", "country", "give", "line",
    "head", "school", "hand", "city", "think", "again", "group", "four", "often", "name", "less", "side", "until", "body", "home", "social",
    "once", "fact", "left", "present", "rule", "example", "mind", "nature", "book", "data", "land", "few", "others", "want", "method", "light",
    "black", "white", "table", "road", "river", "music", "paper", "field", "voice", "letter", "stone", "north", "south", "east", "west", "green",
    "blue", "cold", "warm", "open", "close", "market", "price", "money", "food", "tree", "bird", "fish", "horse", "ship", "train", "street",
    "king", "queen", "child", "mother", "father", "friend", "summer", "winter", "morning", "night", "door", "window", "garden", "glass", "wood", "gold",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_word_is_there_twice() {
        assert_eq!(WORDS.iter().collect::<BTreeSet<_>>().len(), WORDS.len());
    }
}
