//! The shop and the cart.

use maud::{Markup, html};

use crate::cart::{PRODUCTS, Product};
use crate::pages::page;
use crate::view::View;
use crate::words::price;

pub(crate) async fn show(view: View) -> Markup {
    let content = html! {
        div.intro {
            h1 { @if let Some(user) = &view.user { "Hello, " (user) } @else { "Plants for people with windows" } }
            p.lead { "Fill the cart before you sign in or after: it comes along." }
        }
        div.shop {
            section aria-label="Plants" {
                ul.products { @for product in PRODUCTS { (card(product)) } }
            }
            (cart(&view))
        }
    };
    page("Shop", "/", &view, &content)
}

fn card(product: Product) -> Markup {
    html! {
        li.product {
            div class={ "art art-" (product.id) } aria-hidden="true" { (picture(product.id)) }
            div.product-text {
                h2 { (product.name) }
                p { (product.about) }
            }
            form.product-buy method="post" action="/cart/add" {
                input type="hidden" name="product" value=(product.id);
                span.price { (price(product.cents)) }
                button.small type="submit" aria-label={ "Add " (product.name) " to the cart" } { "Add" }
            }
        }
    }
}

fn picture(id: &str) -> Markup {
    html! {
        svg viewBox="0 0 120 110" width="120" height="110" {
            g fill="currentColor" {
                @match id {
                    "monstera" => {
                        path d="M58 78C30 70 24 44 34 22c8 6 12 10 14 18 0-10 2-18 10-26 10 8 12 16 12 26 2-8 6-12 14-18 10 22 4 48-22 56Z" {}
                        path d="M58 78c-8 0-24-4-36-20 12-4 28 4 36 20Z" opacity=".7" {}
                    }
                    "calathea" => {
                        path d="M60 78C42 66 40 34 52 10c16 18 22 46 8 68Z" {}
                        path d="M60 78C40 78 24 62 20 36c22 4 40 20 40 42Z" opacity=".7" {}
                        path d="M60 78c20 0 36-16 40-42-22 4-40 20-40 42Z" opacity=".7" {}
                    }
                    "cactus" => {
                        path d="M50 78V26a10 10 0 0 1 20 0v52Z" {}
                        path d="M50 58H40a12 12 0 0 1-12-12v-4a5 5 0 0 1 10 0v4a2 2 0 0 0 2 2h10Z" opacity=".7" {}
                        path d="M70 50h10a2 2 0 0 0 2-2v-8a5 5 0 0 1 10 0v8a12 12 0 0 1-12 12H70Z" opacity=".7" {}
                    }
                    _ => {
                        path d="M60 78C50 52 36 36 14 32c8 24 24 40 46 46Z" {}
                        path d="M60 78c10-26 24-42 46-46-8 24-24 40-46 46Z" {}
                        path d="M60 78C48 58 48 32 60 12c12 20 12 46 0 66Z" opacity=".7" {}
                    }
                }
            }
            path.pot d="M40 76h40l-5 28a3 3 0 0 1-3 2H48a3 3 0 0 1-3-2Z" {}
        }
    }
}

fn cart(view: &View) -> Markup {
    let lines = view.cart.lines();
    html! {
        aside.cart aria-label="Cart" {
            h2 { "Your cart" }
            @if lines.is_empty() {
                p.muted { "Nothing yet. Pick a plant." }
            } @else {
                ul {
                    @for (product, count) in lines {
                        li {
                            span.cart-count { (count) "×" }
                            span.cart-name { (product.name) }
                            span.cart-price { (price(product.cents * count)) }
                            form method="post" action="/cart/remove" {
                                input type="hidden" name="product" value=(product.id);
                                button.icon type="submit" aria-label={ "Remove " (product.name) } title="Remove" { "×" }
                            }
                        }
                    }
                }
                p.total { span { "Together" } span { (price(view.cart.cents())) } }
            }
            p.muted.small-print {
                @if view.user.is_some() { "Kept in your session, on the server." }
                @else { "Kept in an anonymous session. Your browser holds a random key, nothing else." }
            }
        }
    }
}
