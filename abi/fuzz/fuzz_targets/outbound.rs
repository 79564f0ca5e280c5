//! `--allow-outbound`: `abi::outbound` on any patterns, hosts and addresses.
//!
//! Besides not panicking: what is listed decides, so an empty list allows nothing, and an address
//! that is not public is reached only by naming it.
#![no_main]

use std::net::IpAddr;

use abi::outbound::{AllowList, Pattern, is_public};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<String>, String, [u8; 16], bool, u16)| {
    let (patterns, host, bytes, short, port) = input;
    let address = if short {
        IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])
    } else {
        IpAddr::from(bytes)
    };
    assert!(!AllowList::default().allows_host(&host, port));
    assert!(!AllowList::default().allows_address(&host, address, port));
    if let IpAddr::V4(v4) = address {
        assert_eq!(is_public(address), is_public(v4.to_ipv6_mapped().into()), "{v4}");
    }
    let parsed = patterns.iter().all(|pattern| Pattern::parse(pattern).is_ok());
    let list = AllowList::new(patterns.iter().map(String::as_str));
    assert!(parsed || list.is_err());
    if let Ok(list) = list {
        let _ = list.allows_host(&host, port);
        let names_none = patterns.iter().all(|pattern| pattern.starts_with('*'));
        if list.allows_address(&host, address, port) && names_none {
            assert!(is_public(address), "{address} is reached by {patterns:?}");
        }
    }
});
