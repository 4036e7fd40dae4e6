//! What should be mapped, as plainly as can be said: a step function from pages to what they are.

use super::Seen;
use std::collections::BTreeMap;

/// What a page is, until the next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    pub frame: u64,
    pub rwx: u8,
    pub memory: u8,
    pub state: u8,
}

impl Page {
    pub fn seen(self) -> Seen {
        Seen { frame: Some(self.frame), rwx: self.rwx, memory: self.memory }
    }
}

/// Each key is a page from which on its value holds (the frame counting up), up to the next key.
#[derive(Clone, Debug)]
pub struct Model {
    steps: BTreeMap<u64, Option<Page>>,
    pages: u64,
}

impl Model {
    pub fn new(pages: u64) -> Self {
        Self { steps: BTreeMap::from([(0, None)]), pages }
    }

    pub fn pages(&self) -> u64 {
        self.pages
    }

    pub fn at(&self, page: u64) -> Option<Page> {
        let (from, value) = self.steps.range(..=page).next_back().unwrap();
        value.map(|value| Page { frame: value.frame + (page - from), ..value })
    }

    fn cut(&mut self, page: u64) {
        let value = self.at(page);
        self.steps.insert(page, value);
    }

    /// Changes what is in `count` pages from `first` on, step by step.
    pub fn change(&mut self, first: u64, count: u64, change: impl Fn(u64, Option<Page>) -> Option<Page>) {
        self.cut(first);
        self.cut(first + count);
        for (page, value) in self.steps.range_mut(first..first + count) {
            *value = change(*page, *value);
        }
    }

    /// The steps in a span: first page, pages, what they are.
    pub fn steps_in(&self, first: u64, count: u64) -> Vec<(u64, u64, Option<Page>)> {
        let mut cut = self.clone();
        cut.cut(first);
        cut.cut(first + count);
        let keys: Vec<u64> = cut.steps.range(first..=first + count).map(|(page, _)| *page).collect();
        keys.windows(2).map(|pair| (pair[0], pair[1] - pair[0], cut.at(pair[0]))).collect()
    }

    pub fn mapped(&self) -> Vec<(u64, u64, Page)> {
        let all = self.steps_in(0, self.pages);
        all.into_iter().filter_map(|(first, count, value)| Some((first, count, value?))).collect()
    }
}
