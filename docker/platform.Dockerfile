FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY constraints constraints
COPY platform platform
COPY workers workers
COPY tasks tasks
COPY kernels kernels
COPY templates templates
COPY manage.py .
RUN pip install -c constraints/cpu.txt -e . \
    && useradd --system --uid 10001 longboard && mkdir /data && chown longboard /data
USER longboard
EXPOSE 8000
CMD ["gunicorn", "longboard.wsgi", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--workers", "2", "--threads", "8"]
