//! What a CA issues, true and false.

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use crate::certificate::Certificate;

const NAME: &str = "shop.example.com";
/// Some time in 2027.
const NOW: u64 = 1_800_000_000_000;

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(
    names: &[&str],
    (from, to): (i32, i32),
    key: &KeyPair,
    issuer: &CertifiedIssuer<'_, KeyPair>,
) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.not_before = date_time_ymd(from, 1, 1);
    parameters.not_after = date_time_ymd(to, 1, 1);
    parameters.signed_by(key, issuer).unwrap().pem()
}

#[test]
fn what_is_issued_is_taken_only_if_it_is_what_was_asked_for() {
    let (ca, key) = (issuer("CA"), KeyPair::generate().unwrap());
    let take = |pem: &str| Certificate::of_answer(NAME, &key, pem, NOW);
    let refused = |pem: &str| take(pem).unwrap_err();
    let good = leaf(&["Shop.Example.Com", "other.example"], (2026, 2028), &key, &ca);
    let chain = format!("{good}{}", ca.pem());
    let taken = take(&chain).unwrap();
    assert_eq!(taken.names, ["shop.example.com", "other.example"]);
    assert_eq!((taken.chain.len(), &taken.chain[1][..]), (2, &ca.der()[..]));
    assert_eq!(taken.key.pkcs8_der(), key.serialized_der());
    assert!(taken.validity.issued_ms < NOW && taken.validity.ends_ms > NOW);
    assert_eq!(Certificate::of_bytes(&taken.to_bytes()).unwrap(), taken);
    assert!(format!("{taken:?}").contains("PrivateKey(..)"));

    assert!(refused("").contains("no certificate"));
    assert!(refused("<html>").contains("no certificate"));
    let key_pem = key.serialize_pem();
    assert!(refused(&format!("{good}{key_pem}")).contains("PRIVATE KEY"));
    let other = leaf(&["other.example"], (2026, 2028), &key, &ca);
    assert_eq!(refused(&other), "it is for other.example");
    let others = leaf(&[NAME], (2026, 2028), &KeyPair::generate().unwrap(), &ca);
    assert!(refused(&others).contains("another key"));
    let ended = leaf(&[NAME], (2020, 2021), &key, &ca);
    assert!(refused(&ended).contains("any more"));
    let later = leaf(&[NAME], (2030, 2031), &key, &ca);
    assert!(refused(&later).contains("not valid yet"));
    // Another CA of the same name has not signed it.
    for name in ["CA", "other"] {
        let broken = refused(&format!("{good}{}", issuer(name).pem()));
        assert!(broken.contains(&format!("is not signed by CN={name}")), "{broken}");
    }
    assert!(refused(&good.repeat(20)).contains("more than 10"));
    assert!(refused(&good[..good.len() - 60]).contains("PEM"));
}

proptest! {
    /// What stands in the store opens only with the node's key; should it be damaged all the same,
    /// that is an error and no panic.
    #[test]
    fn damaged_bytes_are_borne(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..400,
    ) {
        let _ = Certificate::of_bytes(&bytes);
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        let certificate = Certificate::of_answer(NAME, &key, &pem, NOW).unwrap();
        let whole = certificate.to_bytes();
        let _ = Certificate::of_bytes(&whole[..cut.min(whole.len() - 1)]);
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(Certificate::of_answer(NAME, &key, &text, NOW).is_err());
    }
}
