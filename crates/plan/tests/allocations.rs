//! Scoring allocates nothing once a thread's memory has grown.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use acclimate_plan::{Isa, Options, Personal, Plan, Precision, Query, Rows, Scratch};
use common::Draw;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator; the count is a plain cell of the thread.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `f` allocates.
fn allocations(f: impl FnOnce()) -> usize {
    let before = CALLS.get();
    f();
    CALLS.get() - before
}

#[test]
fn scoring_allocates_nothing_after_the_first_time() {
    let mut draw = Draw(3);
    assert!(allocations(|| drop(std::hint::black_box(vec![1.0_f32; 100]))) > 0, "the count sees a vector");
    for _ in 0..40 {
        let network = draw.network();
        let requests: Vec<(Rows, Option<Personal>)> =
            (0..5).map(|i| (draw.rows(&network, 70 * i), (i % 2 == 0).then(|| draw.personal(&network)))).collect();
        let queries: Vec<Query<'_>> = requests.iter().map(|(rows, personal)| Query { rows, personal: personal.as_ref() }).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
            let precision = [Precision::F32, Precision::Bf16][draw.below(2)];
            let plan = Plan::compile(&network, &Options { fold_rows: 8, isa: Some(isa), precision }).unwrap();
            let (mut scratch, mut scores, mut hidden) = (Scratch::new(), Vec::new(), Vec::new());
            let mut all = || {
                plan.score(&mut scratch, &queries, &mut scores).unwrap();
                plan.hidden(&mut scratch, &queries, &mut hidden).unwrap();
            };
            assert!(allocations(&mut all) > 0);
            assert_eq!(allocations(&mut all), 0, "{isa}");
        }
    }
}
