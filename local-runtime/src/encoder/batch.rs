//! Which texts are computed together.
//!
//! Each request's texts are taken longest first. A batch begins with the next text of the request whose turn it is, and
//! takes on more, of that request and then of the others, under two bounds: its tokens, padding included, stay under the
//! configured number, and no text is shorter than half of the longest, so that less than half of a batch is padding. The
//! turn passes on with every batch: a small request waits for one batch of each other request, not for all their texts.

use std::collections::VecDeque;
use std::time::Duration;

use super::queue::{Answer, Job};
use crate::error::Error;

/// A request at work.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) job: Job,
    /// Places of the texts, longest first.
    order: Vec<usize>,
    /// How many of them were taken.
    taken: usize,
    done: usize,
    rows: Vec<Vec<f32>>,
    busy: Duration,
    failure: Option<Error>,
}

/// One text of a batch: which request (by its place) and which of its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) request: usize,
    pub(super) text: usize,
}

impl Active {
    pub(super) fn new(job: Job) -> Self {
        let mut order: Vec<usize> = (0..job.texts.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(job.texts[index].len()));
        let rows = vec![Vec::new(); job.texts.len()];
        Self { job, order, taken: 0, done: 0, rows, busy: Duration::ZERO, failure: None }
    }

    /// The next text and its length.
    fn next(&self) -> Option<(usize, usize)> {
        self.order.get(self.taken).map(|&text| (text, self.job.texts[text].len()))
    }

    /// Takes a text's result and its share of a batch's time.
    pub(super) fn put(&mut self, text: usize, row: Vec<f32>, share: Duration) {
        self.rows[text] = row;
        self.done += 1;
        self.busy += share;
    }

    /// Ends with an error; what was not taken yet is left.
    pub(super) fn fail(&mut self, error: Error) {
        self.taken = self.order.len();
        self.failure.get_or_insert(error);
    }

    pub(super) fn is_done(&self) -> bool {
        self.failure.is_some() || self.done == self.rows.len()
    }

    /// Tokens that were not taken yet.
    pub(super) fn tokens_left(&self) -> usize {
        self.order[self.taken..].iter().map(|&text| self.job.texts[text].len()).sum()
    }

    /// Hands the results over.
    pub(super) fn finish(self) {
        match self.failure {
            Some(error) => self.job.fail(error),
            // A caller who left does not mind.
            None => drop(self.job.sink.send(Ok(Answer { rows: self.rows, busy: self.busy }))),
        }
    }
}

/// Chooses the next batch and passes the turn on. With `alone`, one text.
pub(super) fn plan(active: &mut VecDeque<Active>, tokens_max: usize, alone: bool) -> Vec<Pick> {
    let Some(first) = active.iter().position(|request| request.next().is_some()) else { return Vec::new() };
    // The one whose turn it is stands first; afterwards it stands last.
    active.rotate_left(first);
    let mut picks = Vec::new();
    let mut width = 0;
    for (request, each) in active.iter_mut().enumerate() {
        while let Some((text, length)) = each.next() {
            let leads = picks.is_empty();
            let fits = (picks.len() + 1) * width <= tokens_max && length <= width && length * 2 >= width;
            if !leads && (alone || !fits) {
                break;
            }
            width = width.max(length);
            each.taken += 1;
            picks.push(Pick { request, text });
        }
    }
    active.rotate_left(1);
    let last = active.len() - 1;
    picks.iter_mut().for_each(|pick| pick.request = pick.request.checked_sub(1).unwrap_or(last));
    picks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(lengths: &[&[usize]]) -> VecDeque<Active> {
        let job = |lengths: &&[usize]| {
            let (sink, _) = tokio::sync::oneshot::channel();
            Active::new(Job { texts: lengths.iter().map(|&n| vec![7; n]).collect(), skip: 0, sink })
        };
        lengths.iter().map(job).collect()
    }

    /// Plans until nothing is left; gives the lengths of each batch.
    fn batches(active: &mut VecDeque<Active>, tokens_max: usize, alone: bool) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        loop {
            let picks = plan(active, tokens_max, alone);
            if picks.is_empty() {
                return all;
            }
            all.push(picks.iter().map(|pick| active[pick.request].job.texts[pick.text].len()).collect());
        }
    }

    #[test]
    fn batches_stay_in_their_bounds_and_leave_no_text_out() {
        let lengths: Vec<usize> = (0..200).map(|n| (n * 37) % 61 + 2).collect();
        let batches = batches(&mut active(&[&lengths]), 128, false);
        for batch in &batches {
            let longest = *batch.iter().max().expect("not empty");
            assert!(batch.len() * longest <= 128 || batch.len() == 1, "{batch:?}");
            assert!(batch.iter().all(|n| n * 2 >= longest), "{batch:?}");
        }
        let mut seen: Vec<usize> = batches.into_iter().flatten().collect();
        let mut lengths = lengths;
        seen.sort_unstable();
        lengths.sort_unstable();
        assert_eq!(seen, lengths);
    }

    #[test]
    fn a_small_request_waits_for_one_batch_of_a_large_one() {
        let large = vec![10; 1000];
        let mut requests = active(&[&large, &[2]]);
        let batches = batches(&mut requests, 100, false);
        assert_eq!(batches[0].len(), 10);
        assert_eq!(batches[1], [2], "the second turn is the small one's");
    }

    #[test]
    fn requests_of_like_lengths_share_a_batch_unless_texts_go_alone() {
        assert_eq!(
            batches(&mut active(&[&[10, 9], &[8], &[7, 3]]), 100, false),
            [vec![10, 9, 8, 7], vec![3]]
        );
        assert!(batches(&mut active(&[&[10, 9], &[8]]), 100, true).iter().all(|batch| batch.len() == 1));
        assert_eq!(batches(&mut active(&[&[500, 500]]), 100, false), [[500], [500]], "longer ones go alone");
    }
}
