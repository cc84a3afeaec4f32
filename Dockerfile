# One image for every app of dapr.yaml; the command says which. The sidecar is Dapr's own image, see docker-compose.yml.
FROM python:3.13.5-slim

WORKDIR /app
# Dependencies first and by hash: they change less often than our own code.
COPY requirements.lock pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock

COPY sidestream sidestream
COPY events events
COPY services services
COPY projections projections
COPY components components
# what the verbs look into: python -m sidestream.cli.main …
COPY dapr.yaml ./

# An app owns nothing but its data.
RUN useradd --system sidestream && mkdir -p .sidestream/data && chown -R sidestream .sidestream
USER sidestream
ENV PYTHONUNBUFFERED=1 PYTHONPATH=/app SIDESTREAM_HOST=0.0.0.0
