# The service with FoundationDB, as `deploy/compose.yaml` runs it. Build: docker build -t ekitei .
ARG FOUNDATIONDB=7.3.69
FROM foundationdb/foundationdb:${FOUNDATIONDB} AS foundationdb

FROM rust:1.95-bookworm AS build
# The bindings are generated, which takes libclang; the client library is linked.
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev && rm -rf /var/lib/apt/lists/*
COPY --from=foundationdb /usr/lib/libfdb_c.so /usr/lib/libfdb_c.so
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --features foundationdb --bin ekitei && cp target/release/ekitei /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/ekitei --create-home ekitei
COPY --from=foundationdb /usr/lib/libfdb_c.so /usr/lib/libfdb_c.so
COPY --from=build /usr/local/bin/ekitei /usr/local/bin/ekitei
USER 10001
WORKDIR /var/lib/ekitei
ENTRYPOINT ["ekitei"]
CMD ["serve", "--config", "/etc/ekitei/ekitei.yaml"]
