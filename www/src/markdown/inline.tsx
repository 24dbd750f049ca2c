// Inline Markdown as virtual nodes. No HTML string is ever made; HTML in the text shows as text.
import type { Token, Tokens } from 'marked';
import type { ComponentChildren } from 'preact';
import { decodeEntities } from './entities.ts';
import { hostOf, safeLink } from './links.ts';

function Link({ href, children }: { href: string; children: ComponentChildren }) {
  const address = safeLink(decodeEntities(href));
  if (!address) return <>{children}</>;
  return (
    <a href={address} target="_blank" rel="noopener noreferrer nofollow" title={hostOf(address)}>
      {children}
      <span class="visually-hidden"> (opens in a new tab)</span>
    </a>
  );
}

function one(token: Token): ComponentChildren {
  switch (token.type) {
    case 'strong':
      return <strong>{inline(token.tokens)}</strong>;
    case 'em':
      return <em>{inline(token.tokens)}</em>;
    case 'del':
      return <del>{inline(token.tokens)}</del>;
    case 'codespan':
      return <code>{token.text}</code>;
    case 'br':
      return <br />;
    case 'link':
      return <Link href={token.href}>{inline(token.tokens)}</Link>;
    case 'image':
      // Loading it would tell its server about the reader; its description is enough.
      return <Link href={token.href}>{decodeEntities(token.text) || 'image'}</Link>;
    case 'escape':
      return token.text;
    case 'text':
      return (token as Tokens.Text).tokens
        ? inline((token as Tokens.Text).tokens)
        : decodeEntities((token as Tokens.Text).text);
    case 'html':
      return /^<br\s*\/?>$/i.test(token.raw) ? <br /> : token.raw;
    default:
      return token.raw;
  }
}

/** A run of inline tokens. */
export function inline(tokens: readonly Token[] | undefined): ComponentChildren {
  return tokens?.map(one);
}
