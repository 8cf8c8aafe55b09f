// Writes config/gateway.schema.json anew from the schemas in the source: `npm run schema`.
import { writeFile } from 'node:fs/promises'
import plugins from '../plugins/bundled.ts'
import { jsonSchemaText } from '../src/config/json-schema.ts'

await writeFile(new URL('../config/gateway.schema.json', import.meta.url), jsonSchemaText(plugins))
