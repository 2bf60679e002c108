//! Says which commit and build a program is of, for `kindred --version`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=KINDRED_COMMIT");
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let target = variable("TARGET").unwrap_or_default();
    let build = match variable("PROFILE").as_deref() {
        // Tests are not built anew for each commit.
        Some("release") => {
            let commit = variable("KINDRED_COMMIT").or_else(commit);
            commit.map_or_else(|| target.clone(), |commit| format!("{commit}, {target}"))
        }
        _ => format!("development build, {target}"),
    };
    // `cargo run` and `cargo test` hand it to the program, too, which refuses unknown variables named KINDRED_….
    println!("cargo:rustc-env=BUILT_FROM={build}");
}

/// The commit that is checked out, if this is a repository: 12 digits, with `-modified` where files differ from it.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let done = Command::new("git").args(arguments).output().ok()?;
        let said = String::from_utf8(done.stdout).ok()?;
        done.status.success().then(|| said.trim().to_owned())
    };
    for place in ["HEAD", "index"] {
        let path = git(&["rev-parse", "--git-path", place])?;
        println!("cargo:rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_clean {
        commit
    } else {
        commit + "-modified"
    })
}
