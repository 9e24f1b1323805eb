//! How much a text looks like program source.

/// Weight of the signs that program text has and prose has not.
pub(super) fn weight(text: &str) -> f32 {
    const SIGNS: &[&str] = &[
        "#include",
        "def ",
        "class ",
        "import ",
        "function ",
        "return ",
        "const ",
        "public ",
        "private ",
        "static ",
        "void ",
        "fn ",
        "func ",
        "package ",
        "println",
        "console.log",
        "SELECT ",
        "=> ",
        "();",
        "{\n",
        "}\n",
        ");\n",
        "```",
        "var ",
        "let ",
        "if (",
        "for (",
        "#!/",
        "</",
        "using ",
        "namespace ",
        "struct ",
        "self.",
        "->",
        "==",
        "!=",
        "&&",
        "||",
        "int ",
    ];
    let mut head = text.len().min(16_384);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let head = &text[..head];
    let signs =
        SIGNS.iter().filter(|s| memchr::memmem::find(head.as_bytes(), s.as_bytes()).is_some()).count() as f32;
    let marks = head.bytes().filter(|b| b"{}();=<>[]".contains(b)).count() as f32 / head.len().max(1) as f32;
    if marks < 0.015 { signs * 0.03 } else { signs * 0.22 + marks * 6.0 }
}
