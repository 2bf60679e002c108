//! Listing the items of a domain page by page, with filters.

use super::*;
use crate::http::choosing::MOST_FEATURES;

/// Items to list.
async fn filled() -> Bench {
    let bench = bench();
    bench.rows.register("x", None).await;
    let day = |day: i64| DateTime::from_timestamp_millis(1_795_424_400_000 + day * 86_400_000);
    let row = |name: &str| item_row(name, 1);
    let travel = |name: &str| ItemRow {
        group: Some("travel".to_owned()),
        ..row(name)
    };
    // Texts without a language are read in English: their features say so.
    for row in [
        ItemRow {
            categories: ["rail".to_owned(), "night".to_owned()].into(),
            published_at: day(0),
            ..travel("a")
        },
        ItemRow {
            language: Some("de-AT".to_owned()),
            categories: ["rail".to_owned()].into(),
            published_at: day(1),
            ..travel("b")
        },
        ItemRow {
            hidden: true,
            published_at: day(2),
            attributes: [("author".to_owned(), "A. Writer".to_owned())].into(),
            ..row("c")
        },
        ItemRow {
            language: Some("ger".to_owned()),
            publish_at: day(40_000),
            ..row("d")
        },
        ItemRow {
            liveness: Liveness::Deleted,
            ..travel("e")
        },
        ItemRow {
            expires_at: DateTime::from_timestamp_millis(2_000),
            ..travel("f")
        },
    ] {
        bench.rows.put("x", row).await;
    }
    bench
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("a list");
    items
        .iter()
        .map(|item| item["id"].as_str().expect("an id"))
        .collect()
}

async fn page(bench: &Bench, query: &str) -> Value {
    let answer = get(bench, &format!("/v1/domains/x/items?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    answer.json()
}

#[actix_web::test]
async fn the_filters_of_queries_choose_items() {
    let bench = filled().await;
    for (query, expected) in [
        ("", &["a", "b", "c", "d"][..]),
        ("category=rail", &["a", "b"]),
        ("category=night&category=x", &["a"]),
        ("not_category=night", &["b", "c", "d"]),
        ("group=travel", &["a", "b"]),
        ("not_group=travel", &["c", "d"]),
        ("attribute.author=A.%20Writer", &["c"]),
        ("not_attribute.author=A.%20Writer", &["a", "b", "d"]),
        ("published_after=2026-11-24T09:00:00Z", &["b", "c"]),
        ("published_before=2026-11-24T09:00:00Z", &["a"]),
        ("language=de", &["b", "d"]),
        ("language=en", &["a", "c"]),
        ("language=en&language=deu", &["a", "b", "c", "d"]),
        ("not_language=de-CH", &["a", "c"]),
        ("language=en&group=travel", &["a"]),
        ("category=rail&q=TITLE%20b", &["b"]),
        ("group=Travel", &[]),
    ] {
        let found = page(&bench, query).await;
        assert_eq!(ids(&found), expected, "{query}");
        assert_eq!(found.get("next"), None, "{query}");
        let mut newest = ids(&page(&bench, &format!("{query}&sort=newest")).await)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        newest.sort_unstable();
        assert_eq!(newest, expected, "{query}, the newest first");
    }
}

#[actix_web::test]
async fn pages_of_what_passes_follow_each_other() {
    let bench = filled().await;
    for (query, order) in [
        ("not_category=night", &["b", "c", "d"][..]),
        ("not_category=night&sort=newest", &["d", "c", "b"]),
        ("language=de&language=en", &["a", "b", "c", "d"]),
        ("language=en&sort=newest", &["c", "a"]),
    ] {
        let mut all: Vec<String> = Vec::new();
        let mut after = String::new();
        for _ in 0..=order.len() {
            let page = page(&bench, &format!("limit=1&{query}{after}")).await;
            all.extend(ids(&page).into_iter().map(str::to_owned));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(all, order, "{query}");
    }
}

#[actix_web::test]
async fn readers_of_an_active_domain_know_its_languages() {
    let bench = filled().await;
    let row = item_row("z", 1);
    // Without a feature in the store, but in the readers' view.
    bench
        .rows
        .write("x", vec![StoreWrite::Item(row.clone())])
        .await;
    assert_eq!(ids(&page(&bench, "language=fr").await), [""; 0]);
    let view = bench.views.open(&domain("x"), &bench.term);
    let change = ViewChange {
        replace: true,
        model: Some(words_1()),
        listed: vec![Listed {
            slot: Slot(0),
            id: row.id.clone(),
            expires_at: None,
            shown: Arc::new(Shown::of(&row, &mut Interner::default())),
            space: Some(Space::stored("words-1/fr")),
            list: None,
        }],
        ..ViewChange::default()
    };
    view.apply(change, 1);
    assert_eq!(ids(&page(&bench, "language=fr").await), ["z"]);
}

#[actix_web::test]
async fn a_page_reads_so_many_features_and_no_more() {
    let bench = bench();
    bench.rows.register("x", None).await;
    let names: Vec<String> = (0..MOST_FEATURES + 100)
        .map(|n| format!("i{n:04}"))
        .collect();
    let dense = Feature::new(vec![1.0], vec![], vec![]).expect("a feature");
    let writes = names.iter().flat_map(|name| {
        let feature = feature_row(id(name), 1, dense.clone());
        let row = StoreWrite::Item(item_row(name, 1));
        [row, StoreWrite::Feature(feature)]
    });
    bench.rows.write("x", writes.collect()).await;
    let german = ItemRow {
        language: Some("de".to_owned()),
        ..item_row("last", 1)
    };
    bench.rows.put("x", german).await;
    for sort in ["id", "newest"] {
        let query = format!("language=de&sort={sort}");
        let first = page(&bench, &query).await;
        let next = first["next"].as_str().expect("there is more to look at");
        assert_eq!(ids(&first), [""; 0], "{sort}");
        let second = page(&bench, &format!("{query}&after={next}")).await;
        assert_eq!(ids(&second), ["last"], "{sort}");
        assert_eq!(second.get("next"), None);
    }
}

#[actix_web::test]
async fn what_is_no_condition_of_items_is_named() {
    let bench = filled().await;
    for (query, word, field) in [
        ("min_score=0.5", "unknown-parameter", "min_score"),
        ("categry=a", "unknown-parameter", "categry"),
        (
            "published_after=2026",
            "invalid-parameter",
            "published_after",
        ),
        (
            "published_after=2026-11-23T09:00:00Z&published_after=2026-11-23T09:00:00Z",
            "invalid-parameter",
            "published_after",
        ),
        ("limit=0", "invalid-parameter", "limit"),
        ("after=n:1:a", "invalid-parameter", "after"),
    ] {
        let answer = get(&bench, &format!("/v1/domains/x/items?{query}")).await;
        assert_eq!(answer.problem(400, word)["field"], field, "{query}");
    }
    let many = vec!["category=a"; 1_001].join("&");
    let answer = get(&bench, &format!("/v1/domains/x/items?{many}")).await;
    assert_eq!(answer.problem(400, "invalid-parameter")["field"], "filter");
}
