use std::time::Duration;

use mainstay_core::catalogue::Consumer;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName as RcgenName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;
use crate::index::Change;
use CertificateRefusal as R;

/// 2027-01-15.
const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn name(text: &str) -> DistinguishedName {
    DistinguishedName::parse(text).unwrap()
}

#[test]
fn names_are_compared_by_their_parts() {
    for (a, b, are_equal) in [
        ("CN=bank-a,O=Bank A", "CN=bank-a,O=Bank A", true),
        ("CN=bank-a,O=Bank A", "cn=bank-a, o=Bank A", true),
        ("CN=bank-a,O=Bank A", "2.5.4.3=bank-a,2.5.4.10=Bank A", true),
        ("CN=a+OU=b,O=c", "OU=b+CN=a,O=c", true),
        ("CN=a\\,b", "CN=a\\2Cb", true),
        ("CN=L\\C3\\A9a", "CN=L\u{e9}a", true),
        ("CN=a=b", "CN=a\\=b", true),
        ("CN=bank-a,O=Bank A", "O=Bank A,CN=bank-a", false),
        ("CN=bank-a,O=Bank A", "CN=bank-a", false),
        ("CN=bank-a", "CN=Bank-a", false),
        ("CN=bank-a", "CN=bank-a\\ ", false),
        ("CN=a\\,O=b", "CN=a,O=b", false),
        ("CN=a+O=b", "CN=a,O=b", false),
        ("CN=a", "OU=a", false),
        ("CN=#0C0161", "CN=a", false),
    ] {
        assert_eq!(name(a) == name(b), are_equal, "{a} and {b}");
    }
}

#[test]
fn texts_that_are_no_names() {
    for (text, expected) in [
        ("", NameError::Empty),
        ("  ", NameError::Empty),
        ("bank-a", NameError::NoValue),
        ("CN=a,", NameError::NoValue),
        ("CN=a,,O=b", NameError::UnknownType),
        ("CN=a,b", NameError::NoValue),
        ("XX=a", NameError::UnknownType),
        ("=a", NameError::UnknownType),
        ("2.5.04.3=a", NameError::UnknownType),
        ("2=a", NameError::UnknownType),
        ("CN= a", NameError::Escape),
        ("CN=a ,O=b", NameError::Escape),
        ("CN=\"a\"", NameError::Escape),
        ("CN=a;O=b", NameError::Escape),
        ("CN=a\\", NameError::Escape),
        ("CN=a\\zz", NameError::Escape),
        ("CN=\\FF", NameError::Escape),
        ("CN=a\0", NameError::Escape),
        ("CN=#", NameError::Escape),
        ("CN=#0", NameError::Escape),
        ("CN=#zz", NameError::Escape),
    ] {
        assert_eq!(DistinguishedName::parse(text), Err(expected), "{text}");
    }
}

/// An issuer with the name `CN=Partner CA`.
struct Ca(Issuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = RcgenName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign, KeyUsagePurpose::KeyCertSign];
        Self(Issuer::new(params, KeyPair::generate().unwrap()))
    }

    /// A certificate of `CN=bank-a,O=Bank A`, changed.
    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = RcgenName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Bank A");
        params.distinguished_name.push(DnType::CommonName, "bank-a");
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2028, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(7_u64));
        change(&mut params);
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &self.0).unwrap();
        ClientCertificate::read(certificate.der()).unwrap()
    }

    fn revoke(&self, serial: u64) -> RevocationList {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, 2, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        RevocationList::read(params.signed_by(&self.0).unwrap().der()).unwrap()
    }
}

fn index() -> Index {
    let index = Index::new(Arc::default());
    for (id, suspended) in [("bank_a", false), ("bank_s", true)] {
        index.apply(Change::Consumer(&Consumer {
            id: id.to_owned(),
            name: String::new(),
            plan: None,
            groups: vec![],
            attributes: Default::default(),
            suspended,
            created_at: 0,
        }));
    }
    index
}

fn known() -> Certificates {
    Certificates::new([
        ("CN=Partner CA", "CN=bank-a,O=Bank A", "bank_a"),
        ("CN=Partner CA", "CN=bank-s", "bank_s"),
        ("CN=Partner CA", "CN=bank-x", "nobody"),
    ])
    .unwrap()
}

fn common_name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = RcgenName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

#[test]
fn whose_certificate_it_is() {
    let (ca, other) = (Ca::new("Partner CA"), Ca::new("Other CA"));
    let (known, index) = (known(), index());
    let printable = |params: &mut CertificateParams| {
        params.distinguished_name = RcgenName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, DnValue::PrintableString("Bank A".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, DnValue::BmpString("bank-a".try_into().unwrap()));
    };
    let reversed = |params: &mut CertificateParams| {
        params.distinguished_name = RcgenName::new();
        params.distinguished_name.push(DnType::CommonName, "bank-a");
        params.distinguished_name.push(DnType::OrganizationName, "Bank A");
    };
    let rows = [
        ("good", ca.issue(|_| ()), Ok(())),
        ("its name in other string types", ca.issue(printable), Ok(())),
        ("without a usage", ca.issue(|it| it.extended_key_usages.clear()), Ok(())),
        ("of another issuer", other.issue(|_| ()), Err(R::Unknown)),
        ("its name in another order", ca.issue(reversed), Err(R::Unknown)),
        ("of another subject", ca.issue(|it| common_name(it, "bank-b")), Err(R::Unknown)),
        ("a name that holds the other", ca.issue(|it| common_name(it, "bank-a,O=Bank A")), Err(R::Unknown)),
        ("of a consumer that is gone", ca.issue(|it| common_name(it, "bank-x")), Err(R::Unknown)),
        ("of a suspended consumer", ca.issue(|it| common_name(it, "bank-s")), Err(R::Suspended)),
        ("expired", ca.issue(|it| it.not_after = date_time_ymd(2027, 1, 1)), Err(R::Expired)),
        ("not yet valid", ca.issue(|it| it.not_before = date_time_ymd(2027, 2, 1)), Err(R::NotYetValid)),
        (
            "for servers",
            ca.issue(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Err(R::Usage),
        ),
    ];
    for (what, certificate, expected) in rows {
        let identified = known.identify(&certificate, &[], &index, NOW);
        assert_eq!(identified.map(|_| ()), expected, "{what}");
    }
    let caller = known.identify(&ca.issue(|_| ()), &[], &index, NOW).unwrap();
    assert_eq!((caller.consumer.as_deref(), caller.method), (Some("bank_a"), AuthMethod::Mtls));
    assert!(caller.scopes.is_empty());
}

#[test]
fn the_last_second_counts() {
    let ca = Ca::new("Partner CA");
    let end = date_time_ymd(2027, 1, 1);
    let certificate = ca.issue(|it| it.not_after = end);
    let end_ms = Duration::from_secs(end.unix_timestamp() as u64).as_millis() as i64;
    let judge = |at: i64| known().identify(&certificate, &[], &index(), UnixMs(at)).map(|_| ());
    assert_eq!(judge(end_ms + 999), Ok(()));
    assert_eq!(judge(end_ms + 1000), Err(R::Expired));
}

#[test]
fn what_was_revoked() {
    let (ca, other) = (Ca::new("Partner CA"), Ca::new("Other CA"));
    let certificate = ca.issue(|_| ());
    for (what, lists, expected) in [
        ("no list", vec![], Ok(())),
        ("another number", vec![ca.revoke(8)], Ok(())),
        ("another issuer's number", vec![other.revoke(7)], Ok(())),
        ("an outdated list", vec![ca.revoke(7)], Err(R::Revoked)),
        ("one of several lists", vec![ca.revoke(8), other.revoke(1), ca.revoke(7)], Err(R::Revoked)),
    ] {
        let identified = known().identify(&certificate, &lists, &index(), NOW);
        assert_eq!(identified.map(|_| ()), expected, "{what}");
    }
    assert!(ca.revoke(7).next_update().is_some_and(|at| at < NOW), "it says that it is outdated");
}

#[test]
fn bytes_that_are_none() {
    for bytes in
        [b"".as_slice(), b"-----BEGIN CERTIFICATE-----", &[0x30, 0x80], &[0x30, 0x03, 0x02, 0x01, 0x01]]
    {
        assert_eq!(ClientCertificate::read(bytes).map(|_| ()), Err(R::Malformed));
        assert_eq!(RevocationList::read(bytes).map(|_| ()), Err(R::Malformed));
    }
    assert_eq!(
        Certificates::new([("CN=a", "CN=b", "c"), ("", "CN=b", "c")]).map(|_| ()),
        Err((1, NameError::Empty))
    );
}

proptest! {
    #[test]
    fn any_value_can_be_written(value in "[^\\x00]{1,20}") {
        let escaped: String = value.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        let parsed = name(&format!("CN={escaped},O=x"));
        let plain: String = value.chars().map(|c| if "\"+,;<>\\ #=".contains(c) { format!("\\{c}") } else { c.to_string() }).collect();
        prop_assert_eq!(parsed, name(&format!("CN={plain},O=x")));
    }

    #[test]
    fn any_text_is_read(text in ".{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = DistinguishedName::parse(&text);
        prop_assert!(ClientCertificate::read(&bytes).is_err() && RevocationList::read(&bytes).is_err());
    }
}
