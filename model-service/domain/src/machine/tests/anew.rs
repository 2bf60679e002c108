//! Stored features and lists are computed again on request, even if the machine sees nothing wrong with them.

use super::*;

/// Ids of the features and lists that were stored.
fn stored(shell: &Shell) -> (Vec<&str>, Vec<&str>) {
    let (mut features, mut lists) = (Vec::new(), Vec::new());
    for write in &shell.stored {
        match write {
            Write::Feature(row) => features.push(row.id.as_str()),
            Write::List(row) => lists.push(row.id.as_str()),
            _ => {}
        }
    }
    features.sort_unstable();
    lists.sort_unstable();
    lists.dedup();
    (features, lists)
}

fn make_anew(shell: &mut Shell, ids: &[&str]) {
    let ids = ids.iter().map(|id| ItemId::new(id).unwrap());
    let ids = ids.collect();
    shell.input(Input::MakeAnew { ids });
    for _ in 0..5 {
        shell.wait(60_000);
    }
}

#[test]
fn features_and_lists_of_all_items_are_stored_anew() {
    let mut shell = Shell::of_a_clean_domain();
    make_anew(&mut shell, &[]);
    let all = vec!["000", "001", "002"];
    assert_eq!(stored(&shell), (all.clone(), all));
    assert!(shell.machine.status().clean);
}

#[test]
fn those_of_one_item_leave_others_alone() {
    let mut shell = Shell::of_a_clean_domain();
    make_anew(&mut shell, &["001", "nobody"]);
    assert_eq!(stored(&shell), (vec!["001"], vec!["001"]));
    assert!(shell.machine.status().clean);
}

#[test]
fn of_who_is_gone_nothing_is_made() {
    let mut shell = Shell::of_a_clean_domain();
    let deletion = r#"{"type":"item.deleted","domain":"news","id":"001"}"#;
    let (tag, event) = (DeliveryTag(9), event(deletion));
    shell.input(Input::Event { tag, event });
    shell.wait(60_000);
    shell.stored.clear();
    make_anew(&mut shell, &[]);
    let left = vec!["000", "002"];
    assert_eq!(stored(&shell), (left.clone(), left));
    let deleted = |write: &&Write| matches!(write, Write::DeleteList(id) if id.as_str() == "001");
    assert_eq!(shell.stored.iter().filter(deleted).count(), 1);
}

#[test]
fn nothing_is_done_before_the_domain_is_loaded() {
    let (_, mut machine, _) = opened_only(registered(3));
    let effects = machine.handle(at(5), Input::MakeAnew { ids: vec![] });
    assert!(effects.is_empty(), "{effects:?}");
}
