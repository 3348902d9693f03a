# The server of docs/serving.md on CPUs.  Not built where it was written, which has no Docker.
#   docker build -t metis . && docker run --rm -p 127.0.0.1:8000:8000 -v metis:/data metis
FROM python:3.12-slim
RUN useradd --create-home metis && mkdir /data && chown metis /data
WORKDIR /opt/metis_jax
COPY . .
RUN pip install --no-cache-dir ".[serve,hub,video]"
USER metis
ENV XDG_CACHE_HOME=/data/cache XDG_DATA_HOME=/data HF_HOME=/data/hub
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["metis-serve", "--host=0.0.0.0"]
