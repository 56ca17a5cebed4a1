//! The products, and the cart in the session's data.

use std::collections::BTreeMap;

use session_axum::{Session, SessionContext, SessionError};

/// A product of the shop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) cents: u32,
}

pub(crate) const PRODUCTS: [Product; 4] = [
    Product {
        id: "monstera",
        name: "Monstera",
        about: "Grows towards the window, and past it.",
        cents: 3_400,
    },
    Product { id: "calathea", name: "Calathea", about: "Folds its leaves at night.", cents: 2_250 },
    Product { id: "cactus", name: "Cactus", about: "Forgives a month without water.", cents: 1_190 },
    Product { id: "fern", name: "Fern", about: "Happy in the bathroom.", cents: 1_650 },
];

/// The key in the session's data.
const KEY: &str = "cart";

/// Most pieces of one product, so that no visitor can fill a session.
const MOST: u32 = 99;

/// The number of pieces of each product.
#[derive(Debug, Default)]
pub(crate) struct Cart(Items);

type Items = BTreeMap<String, u32>;

impl Cart {
    /// Reads the cart of a session.
    pub(crate) fn of(session: Option<&Session>) -> Result<Self, SessionError> {
        let stored = session.map(|session| session.get(KEY)).transpose()?.flatten();
        Ok(Self(stored.unwrap_or_default()))
    }

    /// Adds one piece of a product. The first addition creates the visitor's anonymous session.
    pub(crate) async fn add(context: &SessionContext, product: Product) -> Result<(), SessionError> {
        // Computed from the stored cart, so that concurrent additions of two windows are both kept.
        let add = move |items: Option<Items>| {
            let mut items = items.unwrap_or_default();
            let count = items.entry(product.id.to_owned()).or_default();
            *count = MOST.min(*count + 1);
            items
        };
        context.get_or_create().await?.update(KEY, add).await?;
        Ok(())
    }

    /// Removes a product.
    pub(crate) async fn remove(session: &Session, product: String) -> Result<(), SessionError> {
        let remove = move |items: Option<Items>| {
            let mut items = items.unwrap_or_default();
            items.remove(&product);
            items
        };
        session.update(KEY, remove).await?;
        Ok(())
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.values().sum()
    }

    /// Returns the products in the cart, in the order of the shop.
    pub(crate) fn lines(&self) -> Vec<(Product, u32)> {
        PRODUCTS.into_iter().filter_map(|product| Some((product, *self.0.get(product.id)?))).collect()
    }

    pub(crate) fn cents(&self) -> u32 {
        self.lines().iter().map(|(product, count)| product.cents * count).sum()
    }
}

/// Finds a product by the id in a form.
pub(crate) fn product(id: &str) -> Option<Product> {
    PRODUCTS.into_iter().find(|product| product.id == id)
}
