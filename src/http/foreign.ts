// Variables as nginx writes them: plain text here, which would go out as it stands.

/** Not every `$name`: `/$metadata` and `$Version` are text that people mean. */
const VARIABLE =
  /\$(?:(?:request_)?uri|request_id|(?:http_)?host|http_\w+|scheme|args|arg_\w+|server_name|remote_addr|proxy_add_x_forwarded_for)\b/

/** The first variable of nginx in a text, or null. */
export function foreignVariable(text: string): string | null {
  return VARIABLE.exec(text)?.[0] ?? null
}
