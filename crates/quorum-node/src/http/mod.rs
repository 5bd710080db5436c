//! placeholder until the interface lands
#![allow(missing_docs, clippy::unused_async)]
#[derive(Debug)]
pub struct Server;
impl Server {
    pub fn start(
        _: tokio::net::TcpListener,
        _: crate::Service,
        _: &crate::config::HttpSection,
    ) -> std::io::Result<Self> {
        Ok(Self)
    }
    pub fn local_addr(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }
    pub async fn shutdown(self, _: std::time::Duration) {}
}
