//! Where a network of sequences is asked for items.

use std::borrow::Cow;

use acclimate_adapt::Needs;
use acclimate_data::RandomStream;
use acclimate_model::Backbone;

use super::Sequence;

/// How a history is written down for a network, and where the network is asked.
///
/// | network | a target after a history | a history of which everything is learned |
/// |---|---|---|
/// | causal | asked at the last item | asked at each item for the next one |
/// | causal, with a token of the method | asked at a position of code 0 behind the last item | the last item at that position, the others as before |
/// | sees both sides | asked at a mask token behind the last item | a share of the items become mask tokens and are asked for there |
///
/// What is asked for is never in what a network reads: a hidden item's code is nowhere in its place, and what follows a history is behind its end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asking {
    /// Code of a position behind the last item, where the item after it is asked for.
    token: Option<u32>,
    /// Where any item can be asked for: the chance of each to be hidden.
    hidden: Option<f64>,
}

/// A sequence as a network reads it.
pub(super) struct Asked<'a> {
    pub(super) input: Cow<'a, [u32]>,
    pub(super) target: Cow<'a, [u32]>,
    pub(super) time: Cow<'a, [i64]>,
}

impl Asking {
    /// How this network is asked when it is adapted by a method with these needs; `share` is the chance of an item to be hidden in training.
    #[must_use]
    pub fn of(backbone: &dyn Backbone, needs: Needs, share: f64) -> Self {
        let mask = backbone.mask_token();
        Self { token: mask.or(needs.token.then_some(0)), hidden: mask.map(|_| share) }
    }

    /// A history with the position where the next item is asked for as its last.
    pub(crate) fn history(self, items: &[u32]) -> Cow<'_, [u32]> {
        match self.token {
            None => Cow::Borrowed(items),
            Some(token) => items.iter().copied().chain([token]).collect(),
        }
    }

    /// A sequence to learn from. `stream` draws which items are hidden.
    pub(super) fn sequence<'a>(self, s: &'a Sequence, stream: &mut RandomStream) -> Asked<'a> {
        match (self.token, self.hidden, s.after) {
            (Some(mask), Some(share), Some(after)) => hide(s, after, mask, share, stream),
            (Some(_), ..) => moved(s, self.history(&s.input)),
            (None, ..) => Asked { input: Cow::Borrowed(&s.input), target: Cow::Borrowed(&s.target), time: Cow::Borrowed(&s.time) },
        }
    }
}

/// The target of the last position is asked for behind it.
fn moved<'a>(s: &'a Sequence, input: Cow<'a, [u32]>) -> Asked<'a> {
    let mut target = s.target.clone();
    if let Some(last) = target.last_mut() {
        let asked = std::mem::take(last);
        target.push(asked);
    }
    let time = s.time.iter().chain(s.time.last()).copied().collect();
    Asked { input, target: target.into(), time }
}

/// Items become mask tokens, each with a chance of `share` and at least one, and are asked for where they stood. As in a causal network the first item is
/// never asked for, and neither are those that the head does not have.
fn hide<'a>(s: &Sequence, after: u32, mask: u32, share: f64, stream: &mut RandomStream) -> Asked<'a> {
    let mut input: Vec<u32> = s.input.iter().copied().chain([after]).collect();
    let mut target = vec![0; input.len()];
    let known: Vec<usize> = (1..input.len()).filter(|&t| s.target[t - 1] != 0).collect();
    let mut hidden: Vec<usize> = known.iter().copied().filter(|_| stream.unit() < share).collect();
    if hidden.is_empty() && !known.is_empty() {
        hidden.push(known[stream.position(known.len())]);
    }
    for t in hidden {
        (input[t], target[t]) = (mask, s.target[t - 1]);
    }
    let time = s.time.first().into_iter().chain(&s.time).copied().collect();
    Asked { input: input.into(), target: target.into(), time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{Feed, SequenceFeed};

    const MASK: u32 = 99;
    const CLOZE: Asking = Asking { token: Some(MASK), hidden: Some(0.3) };

    /// Items 1, 2, .. of sequence i from 10 i on; the head counts from 100 on.
    fn learned(of: u32, length: u32) -> Sequence {
        let items: Vec<u32> = (1..=length).map(|t| 10 * of + t).collect();
        Sequence::everywhere(&items, &items.iter().map(|item| item + 100).collect::<Vec<_>>(), 30)
    }

    fn feed(sequences: Vec<Sequence>, asking: Asking) -> SequenceFeed {
        SequenceFeed::new(sequences, 4, 7, None).expect("sequences with targets").with_asking(asking)
    }

    #[test]
    fn what_is_asked_for_is_never_visible() {
        let feed = feed((0..8).map(|of| learned(of, 2 + of % 5)).collect(), CLOZE);
        for (epoch, step) in (0..50).flat_map(|epoch| [(epoch, 0), (epoch, 1)]) {
            let query = feed.batch(epoch, step).query;
            for (g, codes) in query.categorical.chunks_exact(query.rows).enumerate() {
                let targets = &query.target[g * query.rows..][..query.rows];
                assert!(targets.iter().any(|&t| t != 0), "at least one item is asked for");
                for (&code, &target) in codes.iter().zip(targets) {
                    assert_eq!(code == MASK, target != 0, "an item is hidden where it is asked for, and nowhere else");
                    // Every item occurs once: its code anywhere in the sequence would give it away.
                    assert!(target == 0 || !codes.contains(&(target - 100)), "item {target} is asked for in sight: {codes:?}");
                }
            }
        }
    }

    #[test]
    fn hidden_items_leave_no_trace() {
        let sequences = |last: u32| vec![Sequence::everywhere(&[1, 2, 3, last], &[101, 102, 103, 100 + last], 30)];
        let (a, b) = (feed(sequences(4), CLOZE), feed(sequences(5), CLOZE));
        let mut hidden = 0;
        for epoch in 0..100 {
            let (a, b) = (a.batch(epoch, 0).query, b.batch(epoch, 0).query);
            let is_hidden = a.categorical[3] == MASK;
            hidden += usize::from(is_hidden);
            assert_eq!(a.categorical == b.categorical, is_hidden);
        }
        assert!(hidden > 10, "the last item is asked for as well");
    }

    #[test]
    fn a_share_is_hidden_anew_in_each_epoch() {
        let feed = feed((0..4).map(|of| learned(of, 9)).collect(), CLOZE);
        let hidden = |epoch| feed.batch(epoch, 0).query.target.iter().filter(|&&t| t != 0).count();
        // Eight items of each of four sequences can be asked for.
        let share = (0..500).map(hidden).sum::<usize>() as f64 / (500.0 * 32.0);
        assert!((0.29..0.33).contains(&share), "{share}");
        assert_ne!(feed.batch(0, 0), feed.batch(1, 0));
        let _ = feed.batch(5, 0);
        assert_eq!(feed.batch(0, 0), self::feed((0..4).map(|of| learned(of, 9)).collect(), CLOZE).batch(0, 0));
    }

    #[test]
    fn what_the_head_does_not_have_is_not_hidden() {
        let s = Sequence::everywhere(&[1, 2, 3], &[101, 0, 103], 30);
        let query = feed(vec![s], Asking { hidden: Some(1.0), ..CLOZE }).batch(0, 0).query;
        assert_eq!((query.categorical, query.target), (vec![1, 2, MASK], vec![0, 0, 103]));
    }

    #[test]
    fn what_follows_a_history_is_asked_for_behind_its_end() {
        let last = Sequence::last(&[1, 2, 3], 14, 2).at(60);
        for asking in [CLOZE, Asking { token: Some(0), hidden: None }] {
            let query = feed(vec![last.clone()], asking).batch(0, 0).query;
            let token = asking.token.expect("there is one");
            assert_eq!((query.categorical, query.target, query.asked_at), (vec![2, 3, token], vec![0, 0, 14], vec![60; 3]));
            assert_eq!(*asking.history(&[2, 3]), [2, 3, token]);
        }
        // A causal network learns the others at their own places.
        let query = feed(vec![learned(1, 3)], Asking { token: Some(0), hidden: None }).batch(0, 0).query;
        assert_eq!((query.categorical, query.target), (vec![11, 12, 0], vec![112, 0, 113]));
    }
}
