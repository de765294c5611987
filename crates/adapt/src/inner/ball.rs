//! A ball tree: the nearest of many points, without looking at most of them.
//!
//! A node holds the points within a ball. It is halved along the line through two points that are far apart; what lies further away than the worst of m neighbours found so far, `|q - centre| - radius`, is left out.
//! The search is exact, and equal distances are in the order of the points.

use std::ops::Range;

/// Points in a leaf.
const LEAF: usize = 8;

/// A tree over points `[n, d]`.
#[derive(Debug)]
pub(crate) struct BallTree<'a> {
    points: &'a [f32],
    d: usize,
    order: Vec<u32>,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    centre: Vec<f32>,
    radius: f32,
    /// In `order`.
    points: Range<usize>,
    children: Option<[usize; 2]>,
}

fn squared(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

impl<'a> BallTree<'a> {
    /// Halves until leaves are small.
    pub(crate) fn new(points: &'a [f32], d: usize) -> Self {
        let n = points.len() / d.max(1);
        let mut tree = Self { points, d, order: (0..n as u32).collect(), nodes: Vec::new() };
        if n > 0 {
            tree.grow(0..n);
        }
        tree
    }

    fn point(&self, i: u32) -> &'a [f32] {
        &self.points[i as usize * self.d..][..self.d]
    }

    fn furthest(&self, from: &[f32], points: &Range<usize>) -> (f32, u32) {
        let far = self.order[points.clone()].iter().map(|&i| (squared(from, self.point(i)), i));
        far.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).expect("a node has points")
    }

    fn grow(&mut self, points: Range<usize>) -> usize {
        let mut centre = vec![0.0; self.d];
        for &i in &self.order[points.clone()] {
            centre.iter_mut().zip(self.point(i)).for_each(|(c, x)| *c += x / points.len() as f32);
        }
        let (far, a) = self.furthest(&centre, &points);
        let node = self.nodes.len();
        self.nodes.push(Node { centre, radius: far.sqrt(), points: points.clone(), children: None });
        // Equal points can not be told apart.
        if points.len() > LEAF && far > 0.0 {
            let a = self.point(a);
            let (_, b) = self.furthest(a, &points);
            let b = self.point(b);
            let along = |i: u32| self.point(i).iter().zip(a.iter().zip(b)).map(|(x, (a, b))| x * (b - a)).sum::<f32>();
            let mut sorted: Vec<_> = self.order[points.clone()].iter().map(|&i| (along(i), i)).collect();
            sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            self.order.splice(points.clone(), sorted.into_iter().map(|(_, i)| i));
            let half = points.start + points.len() / 2;
            let children = [self.grow(points.start..half), self.grow(half..points.end)];
            self.nodes[node].children = Some(children);
        }
        node
    }

    /// The m nearest points, nearest first.
    pub(crate) fn nearest(&self, query: &[f32], m: usize) -> Vec<u32> {
        let mut found: Vec<(f32, u32)> = Vec::with_capacity(m + 1);
        if !self.nodes.is_empty() && m > 0 {
            self.search(0, query, m, &mut found);
        }
        found.into_iter().map(|(_, i)| i).collect()
    }

    fn search(&self, node: usize, query: &[f32], m: usize, found: &mut Vec<(f32, u32)>) {
        let Node { centre, radius, points, children } = &self.nodes[node];
        let gap = squared(query, centre).sqrt() - radius;
        // A little slack, since radii are rounded.
        if found.len() == m && gap > 0.0 && gap * gap > found[m - 1].0 * 1.0001 {
            return;
        }
        let Some(children) = children else {
            for &i in &self.order[points.clone()] {
                let entry = (squared(query, self.point(i)), i);
                let at = found.partition_point(|other| other.0.total_cmp(&entry.0).then(other.1.cmp(&entry.1)).is_lt());
                found.insert(at, entry);
                found.truncate(m);
            }
            return;
        };
        let distance = |&child: &usize| squared(query, &self.nodes[child].centre);
        let [near, far] = if distance(&children[0]) <= distance(&children[1]) { *children } else { [children[1], children[0]] };
        self.search(near, query, m, found);
        self.search(far, query, m, found);
    }
}

#[cfg(test)]
mod tests {
    use acclimate_data::RandomStream;

    use super::*;

    #[test]
    fn the_tree_finds_what_a_look_at_every_point_finds() {
        for (n, d) in [(1, 2), (7, 1), (200, 3), (500, 8)] {
            let mut stream = RandomStream::new(3, n as u64, d as u64);
            // Some points twice.
            let mut points: Vec<f32> = (0..n * d).map(|_| (4.0 * stream.normal()).round() as f32 / 4.0).collect();
            points.extend_from_within(..d);
            let tree = BallTree::new(&points, d);
            for m in [1, 5, 2 * n] {
                let query: Vec<f32> = (0..d).map(|_| stream.normal() as f32).collect();
                let mut all: Vec<_> = points.chunks_exact(d).enumerate().map(|(i, p)| (squared(&query, p), i as u32)).collect();
                all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let expected: Vec<u32> = all.into_iter().take(m).map(|(_, i)| i).collect();
                assert_eq!(tree.nearest(&query, m), expected, "{n} points of {d}, {m} neighbours");
            }
        }
        assert!(BallTree::new(&[], 3).nearest(&[0.0; 3], 4).is_empty());
    }
}
