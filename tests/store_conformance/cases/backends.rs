//! Backends added at run time, and the modes of backends.

use comfy_gateway::domain::id::BackendName;
use comfy_gateway::domain::mode::BackendMode;
use comfy_gateway::store::{GatewayStore, StoredBackend};

use crate::support::at;

fn name(name: &str) -> BackendName {
    BackendName::parse(name).unwrap()
}

pub fn backend(text: &str) -> StoredBackend {
    StoredBackend {
        name: name(text),
        url: "https://user:s3cret-0@gpu.example/comfy?token=s3cret-1".into(),
        slots: 3,
        labels: vec!["fast".to_owned(), "ü \"quoted\"".to_owned()],
        bearer: Some("s3cret-2".into()),
        cookies: Some("a=s3cret-3; b=2".into()),
        headers: vec![("X-B".to_owned(), "s3cret-4".into()), ("x-a".to_owned(), "1".into())],
        api_key: Some("s3cret-5".into()),
        created_at: at(5),
    }
}

fn bare_backend(text: &str) -> StoredBackend {
    StoredBackend {
        labels: vec![],
        bearer: None,
        cookies: None,
        headers: vec![],
        api_key: None,
        slots: 1,
        ..backend(text)
    }
}

async fn names(store: &dyn GatewayStore) -> Vec<String> {
    store.added_backends().await.unwrap().iter().map(|backend| backend.name.to_string()).collect()
}

pub async fn added_backends_keep_their_fields_and_their_order(store: &dyn GatewayStore) {
    assert!(names(store).await.is_empty());
    for backend in [backend("z"), bare_backend("a"), backend("m")] {
        assert!(store.add_backend(backend).await.unwrap());
    }
    let kept = store.added_backends().await.unwrap();
    assert_eq!(names(store).await, ["z", "a", "m"]);
    assert!(
        kept[0].is_same(&backend("z"))
            && kept[1].is_same(&bare_backend("a"))
            && kept[2].is_same(&backend("m"))
    );
    assert!(!kept[0].is_same(&bare_backend("z")), "the comparison tells them apart");
    let shown = format!("{kept:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

pub async fn a_name_is_taken_until_its_backend_is_deleted(store: &dyn GatewayStore) {
    assert!(store.add_backend(backend("a")).await.unwrap());
    assert!(!store.add_backend(bare_backend("a")).await.unwrap());
    assert!(store.added_backends().await.unwrap()[0].is_same(&backend("a")), "the first stays unchanged");
    assert!(store.delete_backend(&name("a")).await.unwrap());
    assert!(!store.delete_backend(&name("a")).await.unwrap());
    assert!(names(store).await.is_empty());
    assert!(store.add_backend(bare_backend("a")).await.unwrap());
}

pub async fn modes_are_kept_until_the_backend_is_opened_or_deleted(store: &dyn GatewayStore) {
    assert_eq!(store.backend_modes().await.unwrap(), []);
    store.add_backend(backend("b")).await.unwrap();
    for (text, mode) in
        [("c", BackendMode::Draining), ("b", BackendMode::Cordoned), ("a", BackendMode::Cordoned)]
    {
        store.set_backend_mode(&name(text), mode).await.unwrap();
    }
    store.set_backend_mode(&name("a"), BackendMode::Draining).await.unwrap();
    let modes = store.backend_modes().await.unwrap();
    assert_eq!(
        modes,
        [
            (name("a"), BackendMode::Draining),
            (name("b"), BackendMode::Cordoned),
            (name("c"), BackendMode::Draining)
        ]
    );
    store.set_backend_mode(&name("a"), BackendMode::Open).await.unwrap();
    store.set_backend_mode(&name("never-seen"), BackendMode::Open).await.unwrap();
    store.delete_backend(&name("b")).await.unwrap();
    // `c` was not added here, so deleting it changes nothing and its mode stays.
    assert!(!store.delete_backend(&name("c")).await.unwrap());
    assert_eq!(store.backend_modes().await.unwrap(), [(name("c"), BackendMode::Draining)]);
}
