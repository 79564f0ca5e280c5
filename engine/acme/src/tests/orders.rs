//! Orders that come to an end.

use super::*;

#[tokio::test]
async fn a_first_order_by_http_leaves_a_certificate_in_the_store_and_nothing_else_of_it() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&bed.plan());
    let mut node = bed.node("one", &pebble.directory, HTTP);
    bed.behind.answers(Some(&node.acme));
    let certificate = node.certificate().await;
    assert_eq!((&certificate.names[..], certificate.chain.len()), (&[NAME.to_owned()][..], 2));
    let status = node.until_status(|status| status.valid_until_ms.is_some()).await;
    assert_eq!(status.valid_until_ms, Some(certificate.validity.ends_ms));
    assert!(status.next_order_ms.unwrap() < certificate.validity.ends_ms);
    // The key is sealed in the store and in the node's copy.
    assert!(!any_file_has(bed.folder.path(), &certificate.key.pkcs8_der()[30..60]));
    assert_eq!(bed.count("/certificates/").await, 1);
    assert_eq!(bed.count("/accounts/").await, 1);
    assert_eq!(bed.count("/challenges/").await, 0);
    assert_eq!((pebble.new_orders(), pebble.new_accounts()), (1, 1));

    // Names that no CA can vouch for are told, and do no harm.
    node.wanted.send(vec!["*.example.com".to_owned(), NAME.to_owned()]).unwrap();
    let wildcard = || node.acme.status().into_iter().find(|status| status.name.contains('*'));
    let told = until("the wildcard's status", wildcard).await.error.unwrap();
    assert!(told.contains("wildcard"), "{told}");

    // A name that is not wanted any more keeps its certificate.
    node.wanted.send(Vec::new()).unwrap();
    until("the status without names", || node.acme.status().is_empty().then_some(())).await;
    assert_eq!(node.held.borrow().certificates.len(), 1);
    assert_eq!(pebble.new_orders(), 1);
}

#[tokio::test]
async fn a_first_order_by_tls_is_answered_with_a_certificate_for_the_challenge() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&bed.plan());
    let mut node = bed.node("one", &pebble.directory, TLS);
    bed.behind.answers(Some(&node.acme));
    let challenge = node.until_held(|held| held.challenges.first().cloned()).await;
    assert_eq!(challenge.name, NAME);
    assert_eq!(node.certificate().await.names, [NAME]);
    node.until_held(|held| held.challenges.is_empty().then_some(())).await;
    assert_eq!(pebble.new_orders(), 1);
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&Plan { validity_seconds: 45, ..bed.plan() });
    let mut node = bed.node("one", &pebble.directory, HTTP);
    bed.behind.answers(Some(&node.acme));
    let first = node.certificate().await;
    let other = |held: &Held| {
        held.certificates.iter().find(|other| other.validity != first.validity).cloned()
    };
    let second = node.until_held(other).await;
    assert!(second.validity.issued_ms < first.validity.ends_ms);
    assert!(second.key != first.key && second.validity.ends_ms > first.validity.ends_ms);
    assert_eq!((pebble.new_orders(), pebble.new_accounts()), (2, 1));
    // Both stand in the store until they are long over.
    assert_eq!(bed.count("/certificates/").await, 2);
}

#[tokio::test]
async fn of_two_nodes_one_orders_the_other_answers_and_both_have_the_certificate() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&bed.plan());
    let mut nodes = ["one", "two"].map(|data| {
        let settings = bed.settings(data, &pebble.directory, HTTP);
        Node::start(settings, &bed.objects, bed.key("shared"))
    });
    // Whichever orders, the CA meets a node that only has the store to know from: that one is asked
    // first which has no part in the order.
    let bystander = bed.settings("three", &pebble.directory, HTTP);
    let (_none, nothing) = watch::channel(Vec::new());
    let key = bed.key("shared");
    let (bystander, _) =
        Acme::start_with(POLICY, bystander, Arc::clone(&bed.objects), key, nothing).unwrap();
    bed.behind.answers(Some(&Arc::new(bystander)));
    let [one, two] = &mut nodes;
    let certificates = [one.certificate().await, two.certificate().await];
    assert_eq!(certificates[0], certificates[1]);
    assert_eq!((pebble.new_orders(), pebble.new_accounts()), (1, 1));
    assert_eq!(bed.count("/certificates/").await, 1);
}

#[tokio::test]
async fn an_external_account_is_bound_and_a_missing_one_is_told() {
    const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let bed = Bed::new().await;
    let pebble = bed.pebble(&Plan { external: Some(("kid-1", HMAC)), ..bed.plan() });
    let node = bed.node("one", &pebble.directory, HTTP);
    let told = node.error("gives this node no account").await;
    assert!(told.contains("--acme-eab-key-id"), "{told}");
    drop(node);
    let settings = Settings {
        external_account: Some(external(&bed, "kid-1", HMAC)),
        ..bed.settings("one", &pebble.directory, HTTP)
    };
    let mut node = Node::start(settings, &bed.objects, bed.key("one"));
    bed.behind.answers(Some(&node.acme));
    assert_eq!(node.certificate().await.names, [NAME]);
    assert_eq!((pebble.new_orders(), pebble.new_accounts()), (1, 1));
}

#[tokio::test]
async fn nonces_that_the_ca_refuses_are_taken_anew() {
    let bed = Bed::new().await;
    let pebble = bed.pebble(&Plan { nonces_rejected: 20, ..bed.plan() });
    let mut node = bed.node("one", &pebble.directory, HTTP);
    bed.behind.answers(Some(&node.acme));
    assert_eq!(node.certificate().await.names, [NAME]);
    assert_eq!(pebble.new_accounts(), 1);
}
