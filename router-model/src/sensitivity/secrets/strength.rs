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
            | "passwort"
            | "kennwort"
            | "contraseña"
            | "senha"
            | "wachtwoord"
            | "hasło"
            | "lösenord"
            | "adgangskode"
            | "passord"
            | "salasana"
            | "пароль"
            | "plaintext"
            | "integer"
            | "varying"
            | "constr"
            | "bytes"
            | "textfield"
            | "textinput"
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
    let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_' || c == '-');
    let numbered = lower.len() - stem.len() <= 3
        && matches!(
            stem,
            "value"
                | "val"
                | "param"
                | "arg"
                | "var"
                | "item"
                | "field"
                | "key"
                | "user"
                | "name"
                | "foo"
                | "bar"
        );
    word || numbered || reference || stand_in || repeated(v) && v.len() >= 6 || sequence(&lower)
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
    // Humps of words; a capital at the end or between capitals is no hump.
    let b = v.as_bytes();
    let humps = b
        .windows(3)
        .filter(|w| w[0].is_ascii_lowercase() && w[1].is_ascii_uppercase() && w[2].is_ascii_lowercase());
    let camel = humps.count() >= 1;
    parts.len() >= 2 || camel
}

/// Whether letters follow each other as they rarely do in the words of European languages; true of most random rows
/// of eight letters and more.
pub(super) fn unnatural(v: &str) -> bool {
    const RARE: &[u8] = b"bk bx bz cj cv cx dx fq fx fz gq gx gz hx hz jb jc jd jf jg jh jk jl jm jn jp jq jr js jt jv jw jx jy jz kq \
        kx kz lx lz mq mx mz pq px pz qb qc qd qe qf qg qh qi qj qk ql qm qn qo qp qr qs qt qv qw qx qy qz sx tq tx vb vc vf vg \
        vh vj vk vm vn vp vq vt vw vx vz wj wq wv wx wz xb xd xf xg xh xj xk xl xm xn xq xr xs xv xw xz yq yx zb zc zd zf zg zh \
        zj zk zl zm zn zp zq zr zs zt zv zw zx fk fw gk gv hk hq hv hj kf kg kj kp kv kb lj mj mk pj pk pv rx vd vl vs wu wz yj yy dk dq dj";
    let lower = v.to_ascii_lowercase();
    let b = lower.as_bytes();
    let letters = b.iter().filter(|c| c.is_ascii_alphabetic()).count();
    let rare = b.windows(2).filter(|w| RARE.chunks(3).any(|r| r.len() >= 2 && r[..2] == **w)).count();
    unpronounceable(v) || rare >= 2 || rare == 1 && letters <= 12
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
