//! `bench quality` as a few lines.

use crate::base::text::count;
use crate::base::units::thousands;
use crate::run::quality::view::{Assessment, Figure, Subject};

use super::{Page, Style};

/// The figures with their standard errors, or why there are none.
pub fn render_quality(found: &Assessment, style: Style) -> String {
    let mut out = Page::default();
    subject(&mut out, "Model    ", &found.model, style);
    if let Some(reference) = &*found.reference {
        subject(&mut out, "Against  ", reference, style);
    }
    let tokens =
        found.text.tokens.map_or(String::new(), |tokens| format!(", {} tokens", thousands(tokens as u64)));
    out.line(format_args!("Text     {}{tokens}", found.text.file));
    if let Some(protocol) = found.protocol {
        out.line(format_args!(
            "         {} chunks of {} tokens, {} tokens scored{}",
            thousands(protocol.chunks as u64),
            protocol.context,
            thousands(protocol.scored_tokens as u64),
            if found.interrupted.is_some() { style.warn(", interrupted") } else { String::new() }
        ));
    }
    out.line(format_args!(""));
    let figures = &found.figures;
    figure(&mut out, "perplexity", &figures.perplexity, style, |value| format!("{value:.4}"));
    if found.reference.is_some() {
        figure(&mut out, "of the reference", &figures.reference_perplexity, style, |value| {
            format!("{value:.4}")
        });
        figure(&mut out, "KL divergence", &figures.kl_divergence, style, |value| {
            format!("{value:.6} nat/token")
        });
        figure(&mut out, "top-1 agreement", &figures.top1_agreement, style, |value| {
            format!("{:.3}%", 100.0 * value)
        });
    }
    out.into_text()
}

fn subject(out: &mut Page, label: &str, subject: &Subject, style: Style) {
    let model = &subject.model;
    out.line(format_args!("{label}{}", style.strong(&model.label())));
    if let Some(engine) = &subject.engine {
        let threads =
            engine.threads.map_or(String::new(), |threads| format!(", {}", count(threads, "thread")));
        out.line(format_args!(
            "         {} {} on {}{threads}, KV {}",
            engine.engine, engine.version, engine.device, engine.kv_type
        ));
        for caveat in &engine.caveats {
            out.line(format_args!("         {}", style.warn(caveat)));
        }
    }
}

fn figure(out: &mut Page, name: &str, figure: &Figure, style: Style, text: impl Fn(f64) -> String) {
    if let (Some(value), Some(error)) = (*figure.value, figure.standard_error) {
        out.line(format_args!("{name:<17} {} ± {}", style.strong(&text(value)), text(error)));
    } else {
        let reason = figure.value.reason().unwrap_or("unknown");
        out.line(format_args!("{name:<17} {}", style.dim(&format!("none: {reason}"))));
    }
}
