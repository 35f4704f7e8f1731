//! JSON Web Tokens with HS256, as far as an outpost needs them (RFC 7519).

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// Signs these claims.
pub(super) fn sign(secret: &str, claims: &Value) -> Result<String> {
    let part = |value: &Value| BASE64.encode(value.to_string());
    let content = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let signature = BASE64.encode(mac(secret, &content)?.finalize().into_bytes());
    Ok(format!("{content}.{signature}"))
}

/// The claims of a token that this secret signed.
pub(super) fn verify(secret: &str, token: &str) -> Option<Value> {
    let (content, signature) = token.rsplit_once('.')?;
    let (header, claims) = content.split_once('.')?;
    let part = |text: &str| serde_json::from_slice::<Value>(&BASE64.decode(text).ok()?).ok();
    if part(header)?["alg"] != "HS256" {
        return None;
    }
    mac(secret, content).ok()?.verify_slice(&BASE64.decode(signature).ok()?).ok()?;
    part(claims)
}

/// Signs a word, for a cookie: 43 characters.
pub(super) fn seal(secret: &str, word: &str) -> Result<String> {
    Ok(BASE64.encode(mac(secret, word)?.finalize().into_bytes()))
}

fn mac(secret: &str, content: &str) -> Result<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).context("a secret for a signature")?;
    mac.update(content.as_bytes());
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_signs() {
        let claims = json!({ "redirect": "https://app.example.test/a?b=c&d" });
        let token = sign("secret", &claims).unwrap();
        assert_eq!(verify("secret", &token), Some(claims));
        assert_eq!(verify("other", &token), None);
        assert_eq!(verify("secret", &token[1..]), None);
        assert_eq!(verify("secret", ""), None);
        let unsigned = format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), BASE64.encode("{}"));
        assert_eq!(verify("secret", &unsigned), None);
    }

    /// The value is from `printf %s word | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn signature_is_hmac_sha256() {
        assert_eq!(seal("secret", "word").unwrap(), "3JWTvhJOuo8_sctkKey2bzsB2vDf3SMAS8QT9fRloYI");
    }
}
