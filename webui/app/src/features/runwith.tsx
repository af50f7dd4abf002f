import {Button, Group, Modal, NativeSelect, Textarea} from '@mantine/core'
import {useQuery} from '@tanstack/react-query'
import {useState} from 'react'
import type {StartOptions} from '../api/client.ts'
import {agentsQuery} from '../api/queries.ts'
import {useT} from '../i18n/index.ts'
import {paramsOf} from '../lib/params.ts'

const own = ''
const all = '*'

/** Asks on which agent a job is to run now, and with which parameters. */
export function RunWith(props: {job: string; busy: boolean; close: () => void; run: (options: StartOptions) => void}) {
  const t = useT()
  const {data: agents} = useQuery(agentsQuery)
  const [agent, setAgent] = useState(own)
  const [text, setText] = useState('')
  const params = paramsOf(text)
  return (
    <Modal opened onClose={props.close} title={t.job.withTitle(props.job)} closeButtonProps={{'aria-label': t.common.close}}>
      <NativeSelect
        label={t.job.withAgent}
        value={agent}
        onChange={(e) => setAgent(e.currentTarget.value)}
        data={[
          {value: own, label: t.job.withOwn},
          {value: all, label: t.job.withAll},
          ...(agents?.items ?? []).map((a) => ({value: a.id, label: a.name})),
        ]}
      />
      <Textarea
        mt="sm"
        mb="md"
        label={t.job.withParams}
        description={t.job.withParamsHelp}
        placeholder="date=2027-01-31"
        autosize
        minRows={2}
        value={text}
        onChange={(e) => setText(e.currentTarget.value)}
        error={params === undefined ? t.job.withParamsWrong : undefined}
      />
      <Group justify="flex-end" gap="xs">
        <Button size="xs" variant="default" onClick={props.close}>
          {t.common.cancel}
        </Button>
        <Button
          size="xs"
          loading={props.busy}
          disabled={params === undefined}
          onClick={() => props.run({params, ...(agent === all ? {all: true} : agent === own ? {} : {agent})})}
        >
          {t.jobs.run}
        </Button>
      </Group>
    </Modal>
  )
}
