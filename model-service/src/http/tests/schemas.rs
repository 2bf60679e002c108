//! Checks answers against the API's description.

use super::*;

/// Whether a value matches a schema of the document, as far as the document's own schemas go.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = reference.strip_prefix('#').expect("of this document");
        let schema = document.pointer(pointer).expect("a schema");
        return fits(document, schema, value);
    }
    let parts = |word: &str| schema.get(word).and_then(Value::as_array);
    let fit = |part: &&Value| fits(document, part, value);
    parts("oneOf").is_none_or(|arms| arms.iter().filter(fit).count() == 1)
        && parts("allOf").is_none_or(|all| all.iter().all(|part| fit(&part)))
        && parts("anyOf").is_none_or(|any| any.iter().any(|part| fit(&part)))
        && parts("enum").is_none_or(|words| words.contains(value))
        && is_of_type(schema.get("type"), value)
        && parts("required").is_none_or(|names| {
            names
                .iter()
                .all(|name| value.get(name.as_str().expect("a name")).is_some())
        })
        && members_fit(document, schema, value)
}

fn is_of_type(kind: Option<&Value>, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("the type {other}"),
    };
    match kind {
        None => true,
        Some(Value::Array(kinds)) => kinds.iter().any(is),
        Some(kind) => is(kind),
    }
}

fn members_fit(document: &Value, schema: &Value, value: &Value) -> bool {
    let of_members = schema.get("properties").and_then(Value::as_object);
    let mut members = of_members.into_iter().flatten();
    let of_items = schema.get("items");
    members.all(|(name, schema)| {
        value
            .get(name)
            .is_none_or(|member| fits(document, schema, member))
    }) && value
        .as_array()
        .into_iter()
        .flatten()
        .all(|item| of_items.is_none_or(|schema| fits(document, schema, item)))
}

async fn description(bench: &Bench) -> Value {
    get(bench, "/openapi.json").await.json()
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[actix_web::test]
async fn every_kind_of_problem_is_as_described() {
    let bench = bench();
    let document = description(&bench).await;
    let broken_off = [line("a"), "{".into(), line("full")].join("\n");
    let mut problems = vec![
        get(&bench, "/nowhere").await,
        get(&bench, "/v1/domains/x/items/a?page=2").await,
        put(&bench, "/v1/domains/x/items/a", "{}").await,
        batch(&bench, broken_off).await,
    ];
    bench.lobby.readiness.not_ready("store", "opening");
    problems.push(get(&bench, "/readyz").await);
    for problem in &problems {
        let told = problem.json();
        assert!(fits(&document, &schema("Problem"), &told), "{told}");
    }
    let mut other = problems[0].json();
    other["status"] = json!("404");
    assert!(!fits(&document, &schema("Problem"), &other));
    assert!(!fits(&document, &schema("Problem"), &json!({"type": "x"})));
}

#[actix_web::test]
async fn an_item_is_either_there_or_gone() {
    let bench = bench();
    bench.rows.register("x", None).await;
    bench.rows.put("x", item_row("there", 1)).await;
    let gone = ItemRow {
        liveness: Liveness::Deleted,
        ..item_row("gone", 2)
    };
    bench.rows.write("x", vec![StoreWrite::Item(gone)]).await;
    let document = description(&bench).await;
    for (id, status) in [("there", "accepted"), ("gone", "deleted")] {
        let answer = get(&bench, &format!("/v1/domains/x/items/{id}")).await;
        let told = answer.json();
        assert_eq!(told["status"], status, "{told}");
        assert!(fits(&document, &schema("ItemAnswer"), &told), "{told}");
    }
}
