import {Kbd, Modal, Switch} from '@mantine/core'
import {useT} from '../i18n/index.ts'
import {setKeysEnabled, useKeysEnabled} from '../lib/keys.ts'

export function ShortcutsSheet({opened, onClose}: {opened: boolean; onClose: () => void}) {
  const t = useT()
  const enabled = useKeysEnabled()
  const rows: [keys: string[], does: string][] = [
    [['g', 'o'], t.nav.overview],
    [['g', 'j'], t.nav.jobs],
    [['g', 'r'], t.nav.runs],
    [['g', 's'], t.nav.search],
    [['g', 'a'], t.nav.agents],
    [['/'], t.keys.filter],
    [['p'], t.keys.pause],
    [['?'], t.keys.help],
  ]
  return (
    <Modal
      opened={opened}
      onClose={onClose}
      title={t.keys.title}
      size="sm"
      closeButtonProps={{'aria-label': t.common.close}}
    >
      <dl className="facts">
        {rows.map(([keys, does]) => (
          <div key={does} style={{display: 'contents'}}>
            <dt>
              {keys.map((k, i) => (
                <span key={k}>
                  {i > 0 && ` ${t.keys.between} `}
                  <Kbd size="xs">{k}</Kbd>
                </span>
              ))}
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <Switch
        mt="md"
        size="sm"
        label={t.keys.enabled}
        checked={enabled}
        onChange={(e) => setKeysEnabled(e.currentTarget.checked)}
      />
    </Modal>
  )
}
