//! Work for all processors.
//!
//! The callers decide what is worth a thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{ScopedJoinHandle, available_parallelism, scope};

use anyhow::Result;

/// Returns what `work` makes of each item, in the order of the items. Each processor takes the next
/// item when it has done one. What panics in `work` panics here.
///
/// # Errors
/// The first error in the order of the items that were begun. No item is begun after an error.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let share = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            done.push((index, result));
        }
    };
    let threads = available_parallelism().map_or(1, usize::from).min(items.len());
    let mut done: Vec<(usize, Result<R>)> = scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        let join = |thread: ScopedJoinHandle<'_, Vec<(usize, Result<R>)>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn the_results_are_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..1000).collect();
        let doubled: Vec<u64> = items.iter().map(|item| item * 2).collect();
        assert_eq!(map(&items, |item| Ok(item * 2)).unwrap(), doubled);
        assert!(map(&[] as &[u8], |item| Ok(*item)).unwrap().is_empty());
    }

    #[test]
    fn an_error_ends_the_work() {
        let (items, begun): (Vec<usize>, _) = ((0..100_000).collect(), AtomicUsize::new(0));
        let work = |item: &usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            anyhow::ensure!(*item != 7, "item {item}");
            std::thread::yield_now();
            Ok(())
        };
        assert_eq!(map(&items, work).unwrap_err().to_string(), "item 7");
        assert!(begun.into_inner() < items.len());
    }

    #[test]
    #[should_panic(expected = "the third")]
    fn what_panics_in_the_work_panics_for_the_caller() {
        let _ = map(&[1, 2, 3], |item| {
            assert!(*item < 3, "the third");
            Ok(())
        });
    }
}
