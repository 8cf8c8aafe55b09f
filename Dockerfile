# syntax=docker/dockerfile:1
# The gateway as an image: built with the development dependencies, shipped with the others only, run as nobody special.

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY src ./src
COPY plugins ./plugins
RUN npx tsc -p tsconfig.json

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force

FROM node:24-bookworm-slim AS gateway
# Of the configuration that it comes with; the admin pages stay on the container's loopback.
ENV NODE_ENV=production SLUICE_HOST=0.0.0.0
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json LICENSE ./
COPY config ./config
USER node
EXPOSE 8080
# /readyz is 503 while the gateway drains, so that whoever sends traffic stops in time.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["node", "-e", "fetch('http://127.0.0.1:9901/readyz').then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/src/main.js"]
CMD ["start", "-c", "config/gateway.yaml"]
