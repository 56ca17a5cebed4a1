//! The shop on a free local port.

use std::net::SocketAddr;

use axum::Router;
use axum_devices::{CONFIRM_AFTER, app};
use session_manager::SessionManager;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running shop. Stops when dropped.
pub(crate) struct Shop {
    pub(crate) url: String,
    server: JoinHandle<()>,
}

impl Shop {
    pub(crate) async fn open(manager: SessionManager) -> Self {
        Self::serve(app(manager, CONFIRM_AFTER)).await
    }

    pub(crate) async fn serve(app: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { url, server }
    }
}

impl AsRef<str> for Shop {
    fn as_ref(&self) -> &str {
        &self.url
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.server.abort();
    }
}
