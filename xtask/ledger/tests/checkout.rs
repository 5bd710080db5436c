//! Ledgers in a real checkout: what git calls the code, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorum_ledger::{Code, Entry, Ledger};

const TABLE: &str =
    "# Runs\n\n| what | date | commit | code | result | figures |\n|---|---|---|---|---|---|\n";

/// A repository with the files `a/one`, `b/two` and `ledger.md`, removed in the end.
struct Repository(PathBuf);

impl Repository {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let repository = Self(root.join(format!("{name}-{}", std::process::id())));
        fs::create_dir_all(&repository.0).expect("a folder");
        repository.git(&["init", "--quiet"]);
        for (path, text) in [("a/one", "1"), ("b/two", "2"), ("ledger.md", TABLE)] {
            repository.write(path, text);
        }
        repository.commit();
        repository
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "A step"]);
    }

    fn git(&self, arguments: &[&str]) {
        let someone = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"];
        let git = Command::new("git").args(someone).args(arguments).current_dir(&self.0).status();
        assert!(git.expect("git").success(), "{arguments:?}");
    }

    fn code(&self, paths: &[&str]) -> Code {
        Code::of(&self.0, paths).expect("all is committed")
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _left_to_the_next_clean = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn code_is_the_same_until_its_own_paths_change() {
    let repository = Repository::new("same");
    let before = repository.code(&["a"]);
    assert_eq!(before, repository.code(&["a"]));
    assert_ne!(before.hash(), repository.code(&["a", "b"]).hash());

    repository.write("b/two", "another");
    repository.commit();
    let after = repository.code(&["a"]);
    assert_eq!(before.hash(), after.hash());
    assert_ne!(before.commit(), after.commit());

    repository.write("a/one", "another");
    repository.commit();
    assert_ne!(before.hash(), repository.code(&["a"]).hash());
}

#[test]
fn code_that_is_not_committed_is_refused_and_other_changes_are_not() {
    let repository = Repository::new("refused");
    repository.write("b/new", "not committed");
    repository.code(&["a"]);
    let error = Code::of(&repository.0, &["a", "b"]).unwrap_err().to_string();
    assert!(error.contains("b/new"), "{error}");
    repository.commit();
    repository.write("a/one", "changed");
    assert!(Code::of(&repository.0, &["a"]).is_err());
    assert!(Code::of(&repository.0, &["no-such-path"]).is_err());
    assert!(Code::of(&repository.0, &[]).is_err());
}

#[test]
fn a_campaign_that_was_interrupted_goes_on_and_begins_anew_over_other_code() {
    let repository = Repository::new("resumed");
    let path = repository.0.join("ledger.md");
    let code = repository.code(&["a"]);
    let mut ledger = Ledger::read(&path).expect("a ledger");
    assert_eq!(ledger.next_seed(&(0..100), &code), 0);
    let entry = Entry::today("0..40", &code, true, "40 seeds, 3 crashes");
    ledger.append(entry).expect("written");
    // What is entered is no change of the code, committed or not.
    assert_eq!(repository.code(&["a"]), code);

    let ledger = Ledger::read(&path).expect("a ledger");
    assert_eq!(ledger.next_seed(&(0..100), &code), 40);
    assert_eq!(ledger.passed("0..40", &code, "crashes"), 3);
    assert!(fs::read_to_string(&path).expect("a file").starts_with(TABLE));

    repository.write("a/one", "another");
    repository.commit();
    assert_eq!(ledger.next_seed(&(0..100), &repository.code(&["a"])), 0);
}
