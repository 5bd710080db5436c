//! The first configuration file of a node, short enough to read at a glance. (pure)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use quorum_core::PeerId;
use toml::Value;

use super::sections::Member;

/// What the first configuration of a node has to say; everything else is left to the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever starts a node fills in all of it")]
pub struct Starter {
    /// This node.
    pub name: PeerId,
    /// The mesh it belongs to.
    pub cluster: String,
    /// Every member, this node included.
    pub members: Vec<Member>,
    /// The UDP address on which peers reach this node.
    pub peer_listen: SocketAddr,
    /// The TCP address of its HTTP interface.
    pub http_listen: SocketAddr,
}

impl Starter {
    /// The file's text. Certificates and data are expected beside the file.
    #[must_use]
    pub fn render(&self) -> String {
        let Self { name, cluster, members, peer_listen, http_listen } = self;
        let (name, cluster) = (quoted(name.as_str()), quoted(cluster));
        let mut text = format!(
            "# Configuration of one quorum node. Every key and its default: docs/config.md.\n\
             # Relative paths are relative to this file. Check it with `quorum-node config check`.\n\
             \n\
             [node]\n\
             name = {name}\n\
             cluster = {cluster}\n\
             data_dir = \"data\"\n\
             \n\
             # Every node lists all members, itself included.\n"
        );
        for Member { name, address } in members {
            let (name, address) = (quoted(name.as_str()), quoted(address));
            text.push_str(&format!("[[member]]\nname = {name}\naddress = {address}\n\n"));
        }
        text.push_str(&format!(
            "[quorum]\n\
             w = \"majority\"\n\
             \n\
             [peer]\n\
             listen = \"{peer_listen}\"\n\
             \n\
             [http]\n\
             listen = \"{http_listen}\"\n\
             \n\
             [tls]\n\
             ca = \"ca.pem\"\n\
             cert = \"node.pem\"\n\
             key = \"node.key\"\n"
        ));
        text
    }
}

/// Members `n1`, `n2`, … on loopback, the first on `base_port` and each one port further; `None`
/// if the ports run out or the first is zero.
#[must_use]
pub fn local_members(count: u16, base_port: u16) -> Option<Vec<Member>> {
    if base_port == 0 {
        return None;
    }
    let member = |index: u16| {
        let address =
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), base_port.checked_add(index)?);
        let name = PeerId::new(format!("n{}", u32::from(index) + 1)).ok()?;
        Some(Member::new(name, address.to_string()))
    };
    (0..count).map(member).collect()
}

/// The address to listen on for peers that dial `address`: every interface, the same port.
#[must_use]
pub fn listen_for(address: &str) -> Option<SocketAddr> {
    let (host, port) = address.rsplit_once(':')?;
    let everywhere = if host.starts_with('[') {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    Some(SocketAddr::new(everywhere, port.parse().ok()?))
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::layers::{FileText, merge};
    use super::*;

    #[test]
    fn a_first_configuration_reads_back_and_is_sound() {
        let members = local_members(3, 7400).expect("ports");
        let starter = Starter {
            name: members[1].name.clone(),
            cluster: "apple \"orchard\"".into(),
            members,
            peer_listen: "127.0.0.1:7401".parse().expect("an address"),
            http_listen: "127.0.0.1:7481".parse().expect("an address"),
        };
        let file = FileText::new("quorum.toml", starter.render());
        let config = merge(Some(&file), Vec::new()).expect("readable").config;
        assert_eq!(config.node.name, starter.name);
        assert_eq!(config.node.cluster, starter.cluster);
        assert_eq!(config.members, starter.members);
        assert_eq!(config.peer.listen, starter.peer_listen);
        assert_eq!(config.http.listen, starter.http_listen);
        assert_eq!(check(&config).expect("sound").w(), 2);
    }

    #[test]
    fn local_members_never_share_or_run_out_of_ports() {
        let members = local_members(2, 65_534).expect("two ports are left");
        assert_eq!(members[1].address, "127.0.0.1:65535");
        assert_eq!(local_members(3, 65_534), None);
        assert_eq!(local_members(3, 0), None);
    }

    #[test]
    fn a_node_listens_on_the_port_that_others_dial() {
        let v4 = listen_for("db-1.example.org:7400").expect("a port");
        assert_eq!(v4.to_string(), "0.0.0.0:7400");
        assert_eq!(listen_for("[::1]:7400").expect("a port").to_string(), "[::]:7400");
        assert_eq!(listen_for("nothing"), None);
    }
}
