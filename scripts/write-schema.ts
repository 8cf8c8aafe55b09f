// Writes config/gateway.schema.json anew from the schemas in the source: `node --import=./scripts/loader/register.mjs scripts/write-schema.ts`.
import { writeFile } from 'node:fs/promises'
import plugins from '../plugins/bundled.ts'
import { jsonSchemaText } from '../src/config/json-schema.ts'

await writeFile(new URL('../config/gateway.schema.json', import.meta.url), jsonSchemaText(plugins))
