//! Whether a string can be a credential: entropy, placeholders, and the shapes that identifiers of code have.

/// Shannon entropy in bits per byte.
pub(super) fn entropy(text: &str) -> f32 {
    let mut seen = [0_u32; 256];
    for b in text.bytes() {
        seen[usize::from(b)] += 1;
    }
    let n = text.len().max(1) as f32;
    seen.iter().filter(|c| **c > 0).map(|&c| c as f32 / n).map(|p| -p * p.log2()).sum()
}

/// Few distinct characters for the length: `xxxxxxxx`, `0000-0000`.
pub(super) fn repeated(text: &str) -> bool {
    let mut seen = [false; 256];
    text.bytes().for_each(|b| seen[usize::from(b)] = true);
    let distinct = seen.iter().filter(|s| **s).count();
    distinct <= 4 && text.len() >= 8 || distinct <= 1
}

/// Words that stand where a secret would be in documentation and tests.
const PLACEHOLDERS: &[&str] = &[
    "changeme",
    "change_me",
    "change-me",
    "example",
    "placeholder",
    "your",
    "xxxx",
    "****",
    "....",
    "redacted",
    "dummy",
    "<password",
    "password",
    "passwd",
    "secret",
    "insert",
    "replace",
    "todo",
    "fixme",
    "not-set",
    "notset",
    "undefined",
    "foobar",
    "sample",
    "test-",
    "some-",
    "fake-",
    "my-",
    "put_",
    "enter",
    "null",
    "none",
    "token",
    "goes_here",
    "here>",
    "credential",
    "username",
    "unset",
    "required",
    "optional",
    "hidden",
    "masked",
    "removed",
    "generated",
    "invalid",
    "wrong",
    "apikey",
    "api_key",
    "api-key",
    "-key",
    "_key",
    "lorem",
    "keepass",
    "vault:",
    "encrypted",
    "optional",
];

/// Values that are references to a secret, stand-ins for one, or plain words of the language around.
pub(super) fn placeholder(value: &str) -> bool {
    let v = value.trim();
    let lower = v.to_ascii_lowercase();
    let word = matches!(
        lower.as_str(),
        "" | "true"
            | "false"
            | "yes"
            | "no"
            | "null"
            | "nil"
            | "none"
            | "string"
            | "str"
            | "int"
            | "number"
            | "boolean"
            | "bool"
            | "any"
            | "object"
            | "varchar"
            | "text"
            | "char"
            | "float"
            | "void"
            | "undefined"
            | "self"
            | "this"
            | "input"
            | "type"
            | "value"
            | "default"
            | "empty"
            | "pass"
            | "pwd"
            | "user"
            | "admin"
            | "root"
            | "env"
            | "key"
            | "function"
            | "new"
            | "return"
            | "await"
            | "async"
            | "const"
            | "let"
            | "var"
            | "hash"
            | "salt"
            | "bearer"
            | "basic"
            | "required"
            | "optional"
            | "incorrect"
            | "wrong"
            | "invalid"
            | "file"
            | "path"
            | "prompt"
            | "option"
    );
    let reference = v.starts_with(['$', '<', '{', '[', '(']) && !strong(v)
        || sigil(v)
        || v.starts_with("${")
        || v.starts_with("$(")
        || v.starts_with("{{")
        || v.starts_with("%(")
        || v.starts_with("<%")
        || v.starts_with("env(")
        || v.contains("${")
        || v.contains("{{")
        || v.contains("process.env")
        || v.contains("os.environ")
        || v.starts_with("ENC[")
        || v.starts_with("!vault")
        || v.contains("::")
        || v.contains("...")
        || v.starts_with("ref+")
        || v.starts_with("%s")
        || v.starts_with("secretref")
        || v.starts_with("arn:")
        || v.starts_with("file:")
        || v.starts_with("http:")
        || v.starts_with("https:");
    let stand_in = !strong(v) && PLACEHOLDERS.iter().any(|p| lower.contains(p));
    word || reference || stand_in || repeated(v) && v.len() >= 6 || sequence(&lower)
}

/// A sign that refers, before one plain word: `@name`, `%NAME%`, `&anchor`, `*alias`, `!tag`.
fn sigil(v: &str) -> bool {
    let word = v.trim_end_matches('%').strip_prefix(['@', '&', '*', '%', '#', '!']);
    word.is_some_and(|w| {
        !strong(w)
            && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b))
            && !(w.len() >= 8 && looks_random(w))
    })
}

/// Long and mixed enough that a stand-in word inside is chance or decoration.
pub(super) fn strong(v: &str) -> bool {
    let digits = v.bytes().filter(u8::is_ascii_digit).count();
    let upper = v.bytes().any(|b| b.is_ascii_uppercase());
    let lower = v.bytes().any(|b| b.is_ascii_lowercase());
    let signs = v.bytes().filter(|b| b"!#%&*+=?@^~".contains(b)).count();
    v.len() >= 8 && digits >= 3 && upper && lower && signs >= 1
        || v.len() >= 16 && digits >= 3 && (upper && lower || digits >= 5) && entropy(v) > 3.4
        || v.len() >= 10
            && digits >= 1
            && upper
            && lower
            && v.bytes().any(|b| b.is_ascii_punctuation() && !b"_-.$(){}<>[]".contains(&b))
            && entropy(v) > 3.0
}

fn sequence(lower: &str) -> bool {
    matches!(
        lower,
        "abc"
            | "abcd"
            | "abc123"
            | "123"
            | "1234"
            | "12345"
            | "123456"
            | "1234567890"
            | "abcdef"
            | "foo"
            | "bar"
            | "baz"
            | "qux"
            | "asdf"
            | "xxx"
            | "yyy"
            | "zzz"
            | "abcdefghijklmnopqrstuvwxyz"
    )
}

/// An identifier or path of program text rather than a value: words joined by one kind of sign.
pub(super) fn wordy(v: &str) -> bool {
    let letters = v.bytes().all(|b| b.is_ascii_alphabetic() || b"_-./ ".contains(&b));
    if !letters {
        return false;
    }
    let parts: Vec<&str> = v.split(['_', '-', '.', '/', ' ']).filter(|p| !p.is_empty()).collect();
    let camel = v.bytes().skip(1).filter(u8::is_ascii_uppercase).count() >= 1
        && v.bytes().any(|b| b.is_ascii_lowercase());
    parts.len() >= 2 || camel
}

/// Whether consonants run on as they do in no word; true of random letters.
pub(super) fn unpronounceable(v: &str) -> bool {
    let (mut run, mut most) = (0, 0);
    for b in v.bytes().map(|b| b.to_ascii_lowercase()) {
        if b.is_ascii_alphabetic() && !b"aeiouy".contains(&b) {
            run += 1;
            most = most.max(run);
        } else {
            run = 0;
        }
    }
    most >= 4
}

/// Letters and digits, or letters and signs, mixed as in no word or number.
pub(super) fn looks_random(v: &str) -> bool {
    let digits = v.bytes().filter(u8::is_ascii_digit).count();
    let letters = v.bytes().filter(u8::is_ascii_alphabetic).count();
    let signs = v.bytes().filter(|b| b.is_ascii_punctuation() && !b"._-/".contains(b)).count();
    digits >= 1 && letters >= 2 || signs >= 1 && letters + digits >= 4
}
