# The program hpm on Debian 12: docs/releases.md.
FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git make sudo
# PyTorch's wheels for the CPU alone are not on pip's own index.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=$PIP_EXTRA_INDEX_URL
COPY . /hpm
WORKDIR /hpm
RUN make program

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends libarchive13 libdeflate0 libgomp1 libpng16-16 libssl3 libturbojpeg0 zlib1g \
    && rm -rf /var/lib/apt/lists/*
# The program finds LibTorch where it was built.
COPY --from=build /hpm/.venv/lib /hpm/.venv/lib
COPY --from=build /hpm/build/release/hpm /usr/local/bin/hpm
WORKDIR /work
ENTRYPOINT ["hpm"]
