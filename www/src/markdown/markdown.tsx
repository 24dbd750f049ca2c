// An answer on the page. Blocks that are final keep their identity and are not rendered again.
import type { Token, Tokens } from 'marked';
import { Component, type ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';
import { BlockParser, type Block } from './blocks.ts';
import { Code } from './code.tsx';
import { decodeEntities } from './entities.ts';
import { inline } from './inline.tsx';

function ListItem({ item }: { item: Tokens.ListItem }) {
  return (
    <li class={item.task ? 'task' : undefined}>
      {item.task && <input type="checkbox" checked={item.checked ?? false} disabled aria-label={item.text} />}
      {item.tokens.filter((token) => token.type !== 'checkbox').map(block)}
    </li>
  );
}

function List({ token }: { token: Tokens.List }) {
  const items = token.items.map((item, index) => <ListItem key={index} item={item} />);
  if (!token.ordered) return <ul dir="auto">{items}</ul>;
  return (
    <ol dir="auto" start={token.start === '' ? 1 : token.start}>
      {items}
    </ol>
  );
}

function Table({ token }: { token: Tokens.Table }) {
  const align = (index: number) => (token.align[index] ? `align-${token.align[index]}` : undefined);
  return (
    <div class="table" tabIndex={0} role="region" aria-label="Table">
      <table dir="auto">
        <thead>
          <tr>
            {token.header.map((cell, index) => (
              <th key={index} scope="col" class={align(index)}>
                {inline(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row, rowIndex) => (
            <tr key={rowIndex}>
              {row.map((cell, index) => (
                <td key={index} class={align(index)}>
                  {inline(cell.tokens)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The page has its own h1 and h2 (titles of turns): headings of an answer come below them. */
function Heading({ depth, children }: { depth: number; children: ComponentChildren }) {
  if (depth <= 1) return <h3 dir="auto">{children}</h3>;
  if (depth === 2) return <h4 dir="auto">{children}</h4>;
  return <h5 dir="auto">{children}</h5>;
}

function block(token: Token): ComponentChildren {
  switch (token.type) {
    case 'space':
    case 'def':
      return null;
    case 'paragraph':
      return <p dir="auto">{inline(token.tokens)}</p>;
    case 'text':
      return token.tokens ? inline(token.tokens) : decodeEntities((token as Tokens.Text).text);
    case 'heading':
      return <Heading depth={token.depth}>{inline(token.tokens)}</Heading>;
    case 'code':
      return <Code text={token.text} language={(token.lang ?? '').split(/\s/, 1)[0] ?? ''} />;
    case 'blockquote':
      return <blockquote dir="auto">{token.tokens?.map(block)}</blockquote>;
    case 'list':
      return <List token={token as Tokens.List} />;
    case 'table':
      return <Table token={token as Tokens.Table} />;
    case 'hr':
      return <hr />;
    default:
      return <p dir="auto">{token.raw}</p>;
  }
}

class FrozenBlock extends Component<{ token: Block }> {
  override shouldComponentUpdate(next: { token: Block }): boolean {
    return next.token !== this.props.token;
  }
  override render() {
    return block(this.props.token);
  }
}

/** Markdown text, also while it is growing. */
export function Markdown({ text }: { text: string }) {
  const parser = useRef<BlockParser>(undefined);
  parser.current ??= new BlockParser();
  return (
    <>
      {parser.current.parse(text).map((token, index) => (
        <FrozenBlock key={index} token={token} />
      ))}
    </>
  );
}
