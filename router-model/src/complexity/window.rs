//! The part of a long text that the model reads.

/// Bytes read at each end of a long text.
pub(super) const WINDOW_BYTES: usize = 4096;

/// The beginning and the end of a text; the second is empty when the first is everything.
///
/// The question of a long prompt stands at its start or at its end; what is between is material, whose amount
/// counts but whose words do not.
pub(super) fn window(text: &str) -> [&str; 2] {
    if text.len() <= 2 * WINDOW_BYTES {
        return [text, ""];
    }
    let head = text.floor_char_boundary(WINDOW_BYTES);
    let tail = text.ceil_char_boundary(text.len() - WINDOW_BYTES);
    [&text[..head], &text[tail..]]
}
