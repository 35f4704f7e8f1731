# syntax=docker/dockerfile:1

ARG RUST_VERSION=1.95

# On Alpine the compiler's own target is musl, where a program is linked statically.
FROM rust:${RUST_VERSION}-alpine AS build
WORKDIR /build

# It has the program carry the list of its dependencies, for scanners of images to read.
RUN cargo install --locked cargo-auditable@0.7.7

# Dependencies first, with empty sources in place of ours: this layer lasts until a manifest changes. The member
# tests/testbed is not built, but cargo reads its manifest and wants it to have a target.
COPY Cargo.toml Cargo.lock ./
COPY tests/testbed/Cargo.toml tests/testbed/
RUN mkdir -p src tests/testbed/src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs tests/testbed/src/lib.rs \
    && cargo auditable build --release --locked --bin ingress-sso

# Copied files keep their age and would pass for older than what was built of the empty ones, hence the touch.
COPY src src
RUN touch src/lib.rs src/main.rs \
    && cargo auditable build --release --locked --bin ingress-sso

# Nothing but the program, and the certificates of well-known authorities, for outposts elsewhere that are reached by
# https. In the cluster it trusts the one authority that is mounted with the token of its ServiceAccount.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/ingress-sso /ingress-sso
COPY LICENSE /LICENSE

LABEL org.opencontainers.image.title="ingress-sso" \
      org.opencontainers.image.description="Puts an app on Kubernetes behind authentik with one annotation on its Ingress" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"

# The user is a number so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/ingress-sso"]
CMD ["run"]
