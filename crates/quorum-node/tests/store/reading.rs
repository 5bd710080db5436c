//! Reading ranges: order, prefixes, pages.

use quorum_node::record::{Key, Namespace};
use quorum_node::store::Store;
use quorum_node::store::engine::memory::MemoryDisk;

use crate::harness::{namespace, on_disk, on_memory, op, write};

fn names(store: &Store, prefix: &str, limit: usize) -> Vec<String> {
    let (mut names, mut after): (Vec<String>, Option<Key>) = (Vec::new(), None);
    loop {
        let page = store.scan(&namespace(), prefix.as_bytes(), after.as_ref(), limit);
        let page = page.expect("readable");
        assert!(page.records.len() <= limit);
        names.extend(page.records.iter().map(|stored| stored.content.key.to_string()));
        match page.next {
            Some(next) => after = Some(next),
            None => return names,
        }
    }
}

async fn fill(store: &Store) {
    for name in ["b1", "a", "b", "b2", "c", "b3"] {
        write(store, op(name, "v")).await;
    }
    let mut deleted = op("b2", "");
    deleted.value = None;
    write(store, deleted).await;
    for (space, name) in [("tes", "x"), ("test.", "y"), ("test2", "z")] {
        let mut elsewhere = op(name, "v");
        elsewhere.namespace = Namespace::new(space).expect("valid");
        write(store, elsewhere).await;
    }
}

#[tokio::test]
async fn a_scan_gives_the_live_keys_of_one_namespace_in_order() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for store in [on_memory(&MemoryDisk::new()), on_disk(directory.path())] {
        fill(&store).await;
        for limit in [1, 2, 3, 100] {
            assert_eq!(names(&store, "", limit), ["a", "b", "b1", "b3", "c"]);
            assert_eq!(names(&store, "b", limit), ["b", "b1", "b3"]);
            assert!(names(&store, "bb", limit).is_empty());
        }
    }
}

#[tokio::test]
async fn an_export_gives_everything_live_in_order_whatever_the_page() {
    let store = on_memory(&MemoryDisk::new());
    fill(&store).await;
    for limit in [1, 3, 100] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = store.export(after.as_ref(), limit).expect("readable");
            for stored in page.records {
                all.push(format!("{}/{}", stored.content.namespace, stored.content.key));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let expected =
            ["tes/x", "test/a", "test/b", "test/b1", "test/b3", "test/c", "test./y", "test2/z"];
        assert_eq!(all, expected);
    }
}
