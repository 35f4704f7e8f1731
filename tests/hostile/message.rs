//! What people are told, in an annotation.

/// The longest message.
const MAX_MESSAGE: usize = 4 * 1024;

/// What is wrong with `message` as the value of an annotation. People read it; nothing else does.
pub(crate) fn unfit(message: &str) -> Option<String> {
    (message.len() > MAX_MESSAGE || message.contains(char::is_control))
        .then(|| format!("a message of {} bytes: {message:.200}", message.len()))
}
