//! A bounded first-in first-out queue of bytes; its memory is taken once.
//!
//! What the bytes mean does not belong here.

use alloc::{boxed::Box, vec};

/// A ring of bytes that never grows.
#[derive(Debug)]
pub struct ByteQueue {
    bytes: Box<[u8]>,
    first: usize,
    length: usize,
}

impl ByteQueue {
    /// A queue for `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into_boxed_slice(), first: 0, length: 0 }
    }

    /// How many bytes wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets all that waits.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// How many more bytes fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.len() - self.length
    }

    /// Appends `byte`; false, and nothing is done, when there is no room.
    #[inline]
    pub fn push(&mut self, byte: u8) -> bool {
        if self.room() == 0 {
            return false;
        }
        let position = self.wrap(self.first + self.length);
        if let Some(slot) = self.bytes.get_mut(position) {
            *slot = byte;
            self.length += 1;
        }
        true
    }

    /// Appends `text` as far as there is room.
    pub fn extend(&mut self, text: &[u8]) {
        let text = text.get(..self.room()).unwrap_or(text);
        let start = self.wrap(self.first + self.length);
        let (begin, rest) = text.split_at(text.len().min(self.bytes.len() - start));
        let places = [start..start + begin.len(), 0..rest.len()];
        for (place, part) in places.into_iter().zip([begin, rest]) {
            if let Some(place) = self.bytes.get_mut(place) {
                place.copy_from_slice(part);
            }
        }
        self.length += text.len();
    }

    /// The oldest byte, left in place.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        if self.is_empty() { None } else { self.bytes.get(self.first).copied() }
    }

    /// The oldest bytes that lie in one piece, left in place; empty if nothing waits.
    pub fn oldest(&self) -> &[u8] {
        let end = self.bytes.len().min(self.first + self.length);
        self.bytes.get(self.first..end).unwrap_or_default()
    }

    /// Takes so many of the oldest bytes.
    pub fn skip(&mut self, count: usize) {
        let count = count.min(self.length);
        self.first = self.wrap(self.first + count);
        self.length -= count;
    }

    /// Takes the oldest byte.
    #[inline]
    pub fn pop(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.first = self.wrap(self.first + 1);
        self.length -= 1;
        Some(byte)
    }

    /// Brings a position below twice the capacity into the ring (a division would cost more).
    #[inline]
    fn wrap(&self, position: usize) -> usize {
        if position >= self.bytes.len() { position - self.bytes.len() } else { position }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_across_the_wrap() {
        let mut queue = ByteQueue::new(3);
        for round in 0..10u8 {
            assert!(queue.push(round));
            assert!(queue.push(round + 100));
            assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(round), Some(round + 100), None));
        }
    }

    #[test]
    fn extends_across_the_wrap_as_far_as_there_is_room() {
        for first in 0..6 {
            let mut queue = ByteQueue::new(5);
            (0..first).for_each(|_| _ = (queue.push(0), queue.pop()));
            assert!(queue.push(1));
            queue.extend(&[]);
            queue.extend(&[2, 3]);
            queue.extend(&[4, 5, 6, 7]);
            let mut all = std::vec::Vec::new();
            while !queue.is_empty() {
                all.extend_from_slice(queue.oldest());
                queue.skip(queue.oldest().len());
            }
            assert_eq!(all, [1, 2, 3, 4, 5]);
            queue.skip(1);
            assert_eq!((queue.oldest(), queue.len()), (&[][..], 0));
        }
        ByteQueue::new(0).extend(&[1]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut queue = ByteQueue::new(2);
        assert!(queue.push(1) && queue.push(2) && !queue.push(3));
        assert_eq!((queue.room(), queue.len(), queue.peek()), (0, 2, Some(1)));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(1), Some(2), None));
        assert!(!ByteQueue::new(0).push(1));
    }
}
