//! A visitor with a browser, and the pages that they see.
#![allow(dead_code, reason = "no story needs all of it")]

use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, HeaderMap, ORIGIN};
use reqwest::{Client, Response, StatusCode};

/// Time limit for a page to change. It covers restarting a crashed server and noticing that.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
pub(crate) const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                     Version/18.5 Mobile/15E148 Safari/604.1";
pub(crate) const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

/// A visitor with a browser that follows redirects, keeps cookies and sends `Origin` with forms.
pub(crate) struct Visitor {
    client: Client,
    shop: String,
}

/// A page after the redirects.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) path: String,
    pub(crate) html: String,
}

impl Visitor {
    pub(crate) fn new(shop: impl AsRef<str>, user_agent: &str) -> Self {
        let client = Client::builder().user_agent(user_agent).cookie_store(true).no_proxy().build().unwrap();
        Self { client, shop: shop.as_ref().to_owned() }
    }

    /// Switches to another address of the shop, with the same cookies.
    pub(crate) fn go_to(&mut self, shop: impl AsRef<str>) {
        shop.as_ref().clone_into(&mut self.shop);
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        Page::read(self.client.get(format!("{}{path}", self.shop)).header(ACCEPT, HTML).send().await.unwrap())
            .await
    }

    /// Reloads a page until it satisfies a condition.
    pub(crate) async fn get_until(&self, path: &str, is_done: impl Fn(&Page) -> bool) -> Page {
        let began = Instant::now();
        loop {
            let page = self.get(path).await;
            if is_done(&page) {
                return page;
            }
            assert!(began.elapsed() < PATIENCE, "{path} stays as it is: {} {}", page.status, page.html);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Page {
        self.post_from(&self.shop, path, form).await
    }

    pub(crate) async fn post_from(&self, origin: &str, path: &str, form: &[(&str, &str)]) -> Page {
        let request = self.client.post(format!("{}{path}", self.shop)).form(form);
        Page::read(request.header(ACCEPT, HTML).header(ORIGIN, origin).send().await.unwrap()).await
    }

    pub(crate) async fn sign_in(&self, name: &str, password: &str) -> Page {
        self.post("/sign-in", &[("name", name), ("password", password), ("next", "/devices")]).await
    }

    pub(crate) async fn add(&self, product: &str) -> Page {
        self.post("/cart/add", &[("product", product)]).await
    }
}

impl Page {
    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let query = response.url().query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", response.url().path());
        Self { status, headers, path, html: response.text().await.unwrap() }
    }

    #[track_caller]
    pub(crate) fn assert_shows(&self, text: &str) -> &Self {
        assert!(self.html.contains(text), "{text:?} is not on {}: {}", self.path, self.html);
        self
    }

    #[track_caller]
    pub(crate) fn assert_hides(&self, text: &str) -> &Self {
        assert!(!self.html.contains(text), "{text:?} is on {}: {}", self.path, self.html);
        self
    }

    /// Returns the list entries of the devices, in page order.
    pub(crate) fn devices(&self) -> Vec<&str> {
        let list = self.html.split_once(r#"<ul class="devices">"#).unwrap().1;
        list.split_once("</ul>").unwrap().0.split("<li").skip(1).collect()
    }

    /// Returns the id of the device whose entry contains that text.
    pub(crate) fn device_id(&self, text: &str) -> &str {
        let entry = self.devices().into_iter().find(|entry| entry.contains(text)).unwrap();
        entry.split_once("/devices/").unwrap().1.split_once('/').unwrap().0
    }
}
