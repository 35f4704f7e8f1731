//! Any text as the input of `ingress-sso render`: what comes out can be read again.

use ingress_sso::commands::render_text;
use ingress_sso::config::Settings;

/// Renders `text`. The answer is how many objects came out; the error, why they cannot be read again.
pub(crate) fn examine(text: &str, settings: &Settings) -> Result<usize, String> {
    let Ok(rendered) = render_text(text, settings.clone(), Some("one")) else { return Ok(0) };
    match render_text(&rendered.yaml, settings.clone(), Some("one")) {
        Ok(_) => Ok(rendered.yaml.matches("\nkind: ").count()),
        Err((document, error)) => Err(format!("document {document}: {error}\nof {}", rendered.yaml)),
    }
}
