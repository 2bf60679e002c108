//! Lets tests make a job kill this process, to check that nothing else is harmed.
//!
//! Only in builds with debug assertions, and only on request: an extract job with the term
//! `KINDRED_TEST_WORKER_DIES_ON_TERM`, or a compare job whose left rows include the item
//! `KINDRED_TEST_WORKER_DIES_ON_ITEM`, ends the process with SIGKILL when it is started.

use kindred_shared::job::Job;

/// Called when a job is started.
#[cfg(debug_assertions)]
pub(crate) fn if_asked(job: &Job) {
    use std::sync::LazyLock;

    use kindred_shared::job::Task;

    static TERM: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("KINDRED_TEST_WORKER_DIES_ON_TERM").ok());
    static ITEM: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("KINDRED_TEST_WORKER_DIES_ON_ITEM").ok());
    let is_deadly = match &job.task {
        Task::Extract(task) => TERM.as_ref().is_some_and(|deadly| {
            let mut terms = task.rows.iter().flat_map(|row| &row.terms);
            terms.any(|(term, _)| **term == **deadly)
        }),
        Task::Compare(task) => ITEM.as_ref().is_some_and(|deadly| {
            let block = &task.left.block;
            (0..block.rows()).any(|row| block.id(row).as_str() == deadly)
        }),
    };
    if is_deadly {
        // SIGKILL without `unsafe`: no code of this process runs after it.
        let pid = std::process::id().to_string();
        let _ = std::process::Command::new("kill")
            .args(["-9", &pid])
            .status();
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing outside of test builds.
#[cfg(not(debug_assertions))]
pub(crate) fn if_asked(_job: &Job) {}
