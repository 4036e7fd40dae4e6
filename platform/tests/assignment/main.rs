//! Giving devices away, on real trees and on small ones.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

#[path = "../discovery/common.rs"]
#[allow(dead_code, reason = "the discovery's tests use the rest")]
mod common;

use tessera_platform::assignment::*;
use tessera_platform::tree::Tree;

#[test]
fn show() {
    let tree = Tree::parse(common::blob("bcm2711-rpi-4-b-qemu")).unwrap();
    let a = Assignment::new(&tree, &[tree.find("/emmc2bus/mmc@7e340000").unwrap()]).unwrap();
    for g in a.given() {
        println!("{} {} {}", g.node.path(), g.exclusive, a.explain(g.node));
    }
    for r in a.regions() {
        println!("{} {}", r.node.path(), r.span);
    }
    println!("{:?}", a.distinct_interrupts());
    for r in a.dma_masters() {
        println!("{}", r.path());
    }
    for n in everything_except(&tree, &[], &[], &[], &[]) {
        println!("all {}", n.path());
    }
    for n in tree.nodes() {
        if let Err(e) = Assignment::new(&tree, &[n]) {
            println!("{} {e}", n.path());
        }
    }
    panic!();
}
