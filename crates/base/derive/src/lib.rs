//! serde's and schemars' derives for a struct with fields of type `Known<T>`, each of which becomes two in JSON: `x`,
//! and `x_reason` when `x` is `null`.
//!
//! Each derive writes a second struct, `Wire`, with those two fields in place of the one and everything else as it is, and leaves
//! the work to the derive of the same name on `Wire` (serde calls this a remote derive). So all attributes of serde and
//! schemars work as usual, and what has no `Known` field is read and written as it always was.
//!
//! `#[reason = "…"]` on a field replaces the description of its `x_reason` in the schema.

use proc_macro::TokenStream;
use proc_macro2::{Ident, Span};
use quote::{format_ident, quote};
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, GenericArgument, Lit, LitStr, Meta,
    PathArguments, Result, Type, parse_macro_input,
};

/// As serde's.
#[proc_macro_derive(Serialize, attributes(serde, schemars, reason))]
pub fn serialize(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let name = &input.ident;
    let body = quote! {
        impl ::serde::Serialize for #name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                Wire::serialize(self, serializer)
            }
        }
    };
    with_wire(&input, ["serde", "Serialize"], &|_| body.clone())
}

/// As serde's.
#[proc_macro_derive(Deserialize, attributes(serde, schemars, reason))]
pub fn deserialize(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let name = &input.ident;
    with_wire(&input, ["serde", "Deserialize"], &|fields| {
        let joined = fields.iter().map(Part::joined);
        quote! {
            impl ::core::convert::From<Wire> for #name {
                fn from(wire: Wire) -> Self {
                    Self { #(#joined,)* }
                }
            }
            impl<'de> ::serde::Deserialize<'de> for #name {
                fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> ::core::result::Result<Self, D::Error> {
                    Wire::deserialize(from)
                }
            }
        }
    })
}

/// As schemars'.
#[proc_macro_derive(JsonSchema, attributes(serde, schemars, reason))]
pub fn json_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let name = &input.ident;
    let body = quote! {
        impl ::schemars::JsonSchema for #name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                Wire::schema_name()
            }
            fn schema_id() -> ::std::borrow::Cow<'static, str> {
                Wire::schema_id()
            }
            fn json_schema(generator: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                Wire::json_schema(generator)
            }
        }
    };
    with_wire(&input, ["schemars", "JsonSchema"], &|_| body.clone())
}

/// `Wire` with the derive that does the work, and `rest`.
fn with_wire(
    input: &DeriveInput,
    [library, derive]: [&str; 2],
    rest: &dyn Fn(&[Part<'_>]) -> proc_macro2::TokenStream,
) -> TokenStream {
    let parts = match parts(input) {
        Ok(parts) => parts,
        Err(error) => return error.into_compile_error().into(),
    };
    let name = &input.ident;
    let remote = LitStr::new(&name.to_string(), name.span());
    let about = input.attrs.iter().filter(|attribute| known_to(library, attribute));
    let fields = parts.iter().map(|part| part.fields(library));
    let (library, derive) = (format_ident!("{library}"), format_ident!("{derive}"));
    let getters = parts.iter().map(|part| part.getters(name));
    let rest = rest(&parts);
    quote! {
        #[allow(dead_code, clippy::pedantic, reason = "written by a derive")]
        const _: () = {
            #[derive(::#library::#derive)]
            #[serde(remote = #remote)]
            #(#about)*
            struct Wire { #(#fields)* }
            impl Wire { #(#getters)* }
            #rest
        };
    }
    .into()
}

/// A field, and what of it may not be known.
struct Part<'a> {
    field: &'a Field,
    name: &'a Ident,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// Any other type.
    Plain,
    /// `Known<T>`.
    Known(&'a Type),
    /// `Option<Known<T>>`: a field that may be absent besides.
    Absent(&'a Type),
}

fn parts(input: &DeriveInput) -> Result<Vec<Part<'_>>> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "only for structs"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "only for structs with named fields"));
    };
    fields.named.iter().map(part).collect()
}

fn part(field: &Field) -> Result<Part<'_>> {
    let Field { ident: Some(name), ty, .. } = field else {
        return Err(Error::new_spanned(field, "it has no name"));
    };
    let kind = match (argument(ty, "Known"), argument(ty, "Option").and_then(|ty| argument(ty, "Known"))) {
        (Some(value), _) => Kind::Known(value),
        (_, Some(value)) => Kind::Absent(value),
        _ => Kind::Plain,
    };
    Ok(Part { field, name, kind })
}

/// `T` of `outer<T>`.
fn argument<'a>(ty: &'a Type, outer: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == outer)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}

/// Whether this library's derive reads the attribute; schemars reads serde's as well.
fn known_to(library: &str, attribute: &Attribute) -> bool {
    ["doc", "serde", library].iter().any(|name| attribute.path().is_ident(name))
}

impl Part<'_> {
    fn reason(&self) -> Ident {
        format_ident!("{}_reason", self.name)
    }

    /// The field of `Wire`, or the two.
    fn fields(&self, library: &str) -> proc_macro2::TokenStream {
        let Self { field, name, .. } = self;
        let about = field.attrs.iter().filter(|attribute| known_to(library, attribute));
        let getter = |name: &Ident| LitStr::new(&format!("Wire::{name}"), Span::call_site());
        let own = match &self.kind {
            Kind::Plain => {
                let ty = &field.ty;
                return quote!(#(#about)* #name: #ty,);
            }
            Kind::Known(value) => {
                let getter = getter(name);
                quote!(#[serde(getter = #getter)] #name: ::core::option::Option<#value>,)
            }
            Kind::Absent(value) => {
                let getter = getter(name);
                quote! {
                    #[serde(
                        default,
                        skip_serializing_if = "Option::is_none",
                        deserialize_with = "::infercost_base::known::there",
                        getter = #getter
                    )]
                    #name: ::core::option::Option<::core::option::Option<#value>>,
                }
            }
        };
        let why = field.attrs.iter().find_map(described).unwrap_or_else(|| "Why it is `null`.".to_owned());
        let reason = self.reason();
        let getter = getter(&reason);
        quote! {
            #(#about)* #own
            #[doc = #why]
            #[serde(default, skip_serializing_if = "Option::is_none", getter = #getter)]
            #reason: ::core::option::Option<::std::string::String>,
        }
    }

    /// How `Wire`'s two fields are had of the one.
    fn getters(&self, of: &Ident) -> proc_macro2::TokenStream {
        let Self { name, .. } = self;
        let reason = self.reason();
        match &self.kind {
            Kind::Plain => quote!(),
            Kind::Known(value) => quote! {
                fn #name(of: &#of) -> &::core::option::Option<#value> { of.#name.fields().0 }
                fn #reason(of: &#of) -> &::core::option::Option<::std::string::String> { of.#name.fields().1 }
            },
            Kind::Absent(value) => quote! {
                fn #name(of: &#of) -> ::core::option::Option<::core::option::Option<#value>> {
                    of.#name.as_ref().map(|known| known.fields().0.clone())
                }
                fn #reason(of: &#of) -> ::core::option::Option<::std::string::String> {
                    of.#name.as_ref().and_then(|known| known.fields().1.clone())
                }
            },
        }
    }

    /// The one field of `Wire`'s two.
    fn joined(&self) -> proc_macro2::TokenStream {
        let Self { field: Field { ty, .. }, name, .. } = self;
        let reason = self.reason();
        match &self.kind {
            Kind::Plain => quote!(#name: wire.#name),
            Kind::Known(_) => quote!(#name: <#ty>::of_fields(wire.#name, wire.#reason)),
            Kind::Absent(value) => quote! {
                #name: wire.#name.map(|value: ::core::option::Option<#value>| {
                    ::infercost_base::known::Known::of_fields(value, wire.#reason)
                })
            },
        }
    }
}

/// The text of `#[reason = "…"]`.
fn described(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(given) = attribute.meta.clone() else { return None };
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = given.value else { return None };
    given.path.is_ident("reason").then(|| text.value())
}
