//! What holds of a head by one solve, whatever the patch.

use std::sync::Arc;

use acclimate_plan::{AdaptError, HeadParams, HeadSolver, Linear, Loss, MOST_ROWS, Personal};
use proptest::prelude::*;

/// What a patch keeps, d = 3.
#[derive(Clone, Debug)]
struct Kept {
    numbers: Vec<f32>,
    shares: Vec<f32>,
    prior: Vec<f32>,
    factor: Vec<f32>,
}

fn kept() -> Kept {
    let factor = (0..25).map(|at| if at % 6 == 0 { 0.5 } else { 0.0 }).collect();
    Kept {
        numbers: vec![3.0, 1.25, 0.5, 1.0],
        shares: vec![0.0, 0.25, 0.5, 0.5, 0.75, 0.875, 1.0],
        prior: vec![0.0, 1.0, 0.0, 0.0, 0.0],
        factor,
    }
}

fn head() -> Linear {
    Linear { d_in: 3, d_out: 1, weight: Arc::new(vec![0.5, -1.0, 0.25]), bias: Arc::new(vec![3.5]) }
}

fn solver(loss: Loss, kept: &Kept) -> Result<HeadSolver, AdaptError> {
    let Kept { numbers, shares, prior, factor } = kept;
    HeadSolver::new(loss, &head(), HeadParams { numbers, shares, prior, factor })
}

#[test]
fn a_share_of_nothing_and_an_unsolved_patch_are_the_base() {
    // The first share is 0, and the prior is the base.
    let found = solver(Loss::SquaredError, &kept()).unwrap().solve(&[], &[]).unwrap();
    assert_eq!(found, Personal { head: Some(head()), ..Personal::default() });
    let unsolved = Kept { numbers: vec![0.0; 4], ..kept() };
    assert_eq!(solver(Loss::SquaredError, &unsolved).unwrap().solve(&[1.0, 2.0, 3.0], &[4.0]).unwrap(), Personal::default());
}

/// Rows that say the same again and again are believed in the end: with a share of 1 and little noise the head says their labels.
#[test]
fn many_rows_are_met() {
    let states: Vec<f32> = (0..900).map(|at| ((at * 7 % 13) as f32 - 6.0) / 4.0 + (at % 3) as f32).collect();
    let truth = |h: &[f32]| 2.0 + h[0] - 0.5 * h[1] + 0.25 * h[2];
    let labels: Vec<f32> = states.chunks_exact(3).map(truth).collect();
    let sure = Kept { numbers: vec![3.0, 1.25, 1e-5, 1.0], ..kept() };
    let found = solver(Loss::SquaredError, &sure).unwrap().solve(&states, &labels).unwrap().head.unwrap();
    for h in states.chunks_exact(3) {
        let said = found.bias[0] + h.iter().zip(&found.weight[..]).map(|(h, w)| h * w).sum::<f32>();
        assert!((said - truth(h)).abs() < 1e-2, "{said} for {}", truth(h));
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let error = |change: &dyn Fn(&mut Kept)| {
        let mut kept = kept();
        change(&mut kept);
        solver(Loss::Logistic, &kept).unwrap_err()
    };
    assert_eq!(error(&|kept| kept.prior.push(0.0)), AdaptError::Size { what: "prior of the patch", found: 6, expected: 5 });
    assert_eq!(error(&|kept| kept.shares.clear()), AdaptError::Size { what: "shares of the patch", found: 0, expected: 7 });
    assert!(matches!(error(&|kept| kept.factor[7] = f32::NAN), AdaptError::Number { what: "factor of the patch", at: 7, .. }));
    assert!(matches!(error(&|kept| kept.numbers[1] = 1e30), AdaptError::Number { what: "numbers of the patch", at: 1, .. }));

    let solver = solver(Loss::Logistic, &kept()).unwrap();
    let state = [1.0, 2.0, 3.0];
    assert!(matches!(solver.solve(&state[1..], &[1.0]), Err(AdaptError::Size { found: 2, expected: 3, .. })));
    assert!(matches!(solver.solve(&[1.0, f32::INFINITY, 3.0], &[1.0]), Err(AdaptError::Number { at: 1, .. })));
    assert_eq!(solver.solve(&state, &[5.0]), Err(AdaptError::Label { row: 0, found: 5.0 }));
    let many = MOST_ROWS + 1;
    assert_eq!(solver.solve(&vec![0.0; 3 * many], &vec![0.0; many]), Err(AdaptError::TooMany { found: many, most: MOST_ROWS }));
}

/// From 0 to beyond what is taken.
fn sizes() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0f32), -2.0f32..2.0, -2e9f32..2e9, Just(1e9), Just(-1e9), Just(1e-30), Just(f32::MAX)]
}

proptest! {
    /// Any numbers at all have an answer, which is a head of numbers or an error.
    #[test]
    fn nothing_panics(
        of_patch in prop::collection::vec(sizes(), 4 + 7 + 5 + 25),
        states in prop::collection::vec(sizes(), 0..30),
        label in sizes(),
        clicks in any::<bool>(),
    ) {
        let (numbers, rest) = of_patch.split_at(4);
        let (shares, rest) = rest.split_at(7);
        let (prior, factor) = rest.split_at(5);
        let loss = if clicks { Loss::Logistic } else { Loss::SquaredError };
        let rows = states.len() / 3;
        let labels = vec![if clicks { label.clamp(0.0, 1.0) } else { label }; rows];
        if let Ok(solver) = HeadSolver::new(loss, &head(), HeadParams { numbers, shares, prior, factor })
            && let Ok(personal) = solver.solve(&states[..rows * 3], &labels)
            && let Some(head) = personal.head
        {
            prop_assert!(head.weight.iter().chain(&head.bias[..]).all(|x| x.is_finite()));
        }
    }

    #[test]
    fn the_order_of_the_rows_changes_nothing_but_rounding(states in prop::collection::vec(-2.0f32..2.0, 3..60), clicks in any::<bool>()) {
        let rows = states.len() / 3;
        let states = &states[..rows * 3];
        let labels: Vec<f32> = states.chunks_exact(3).map(|h| if clicks { f32::from(u8::from(h[0] > h[1])) } else { h[2] * 2.0 }).collect();
        let solver = solver(if clicks { Loss::Logistic } else { Loss::SquaredError }, &kept()).unwrap();
        let head = |states: &[f32], labels: &[f32]| solver.solve(states, labels).unwrap().head.unwrap();
        let turned: Vec<f32> = states.chunks_exact(3).rev().flatten().copied().collect();
        let back: Vec<f32> = labels.iter().rev().copied().collect();
        let (a, b) = (head(states, &labels), head(&turned, &back));
        prop_assert!(a.weight.iter().chain(&a.bias[..]).zip(b.weight.iter().chain(&b.bias[..])).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
