//! Long texts in overlapping windows, and one answer for each token.
//!
//! A text of more tokens than the network reads is cut into windows of equal length that overlap by a quarter; the last one
//! ends where the text ends. A token that lies in several windows takes its answer from the one in which it stands furthest
//! from a cut, where it has the most context on both sides: ends of the text are no cuts. No token is left out, and a
//! text that fits in one window is answered exactly as if there were none.

use std::ops::Range;

/// The windows of a text of `tokens` tokens, none longer than `limit` (at least 1). A text without tokens has one empty window.
pub(super) fn windows(tokens: usize, limit: usize) -> Vec<Range<usize>> {
    if tokens <= limit {
        return std::iter::once(0..tokens).collect();
    }
    let step = limit - limit / 4;
    let mut all: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    while start + limit < tokens {
        all.push(start..start + limit);
        start += step;
    }
    all.push(tokens - limit..tokens);
    all
}

/// For each token, the window that answers for it.
pub(super) fn owners(windows: &[Range<usize>], tokens: usize) -> Vec<usize> {
    let context = |window: &Range<usize>, token: usize| {
        let before = if window.start == 0 { usize::MAX } else { token - window.start };
        let after = if window.end == tokens { usize::MAX } else { window.end - 1 - token };
        before.min(after)
    };
    let mut owners = vec![0; tokens];
    let mut best = vec![None; tokens];
    for (index, window) in windows.iter().enumerate() {
        for token in window.clone() {
            let here = context(window, token);
            if best[token].is_none_or(|before| here > before) {
                best[token] = Some(here);
                owners[token] = index;
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_answered_by_a_window_that_holds_it() {
        for limit in 1..20 {
            for tokens in 0..100 {
                let windows = windows(tokens, limit);
                assert!(windows.iter().all(|window| window.len() <= limit && window.end <= tokens));
                let owners = owners(&windows, tokens);
                assert!(
                    (0..tokens).all(|token| windows[owners[token]].contains(&token)),
                    "{tokens} by {limit}"
                );
                assert!(owners.is_sorted(), "answers change windows once: {owners:?}");
            }
        }
    }

    #[test]
    fn tokens_in_several_windows_go_to_the_one_with_more_context() {
        let windows = windows(14, 8);
        assert_eq!(windows, [0..8, 6..14]);
        assert_eq!(owners(&windows, 14), [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(super::windows(8, 8).len(), 1);
    }
}
